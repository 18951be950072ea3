"""Secrets of every kind that a run may meet, none of them real: kind -> a text that holds one, and what of it
must not be seen.
"""

from __future__ import annotations

AWS_KEY = "AKIAIOSFODNN7EXAMPLE"
AWS_SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
HF_TOKEN = "hf_QwErTyUiOpAsDfGhJkLzXcVbNm"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJwbGFudGVkIn0.c2lnbmF0dXJlLXBsYW50ZWQ"
SAS = "sv=2024-05-04&ss=b&se=2030-01-01T00%3A00%3A00Z&sr=c&sp=rl&sig=pL4nTedS4s%2Bsignature%3D"
RAY_TOKEN = "5afe70c0ffee5afe70c0ffee5afe70c0ffee5afe70c0ffee5afe70c0ffee5afe"

PLANTED: dict[str, tuple[str, tuple[str, ...]]] = {
    "aws key id": (f"credentials {AWS_KEY} were refused", (AWS_KEY,)),
    "aws session key id": ("ASIAIOSFODNN7EXAMPLE", ("ASIAIOSFODNN7EXAMPLE",)),
    "aws secret in a setting": (f"aws_secret_access_key={AWS_SECRET}", (AWS_SECRET,)),
    "aws secret in a file": (f"AWS_SECRET_ACCESS_KEY='{AWS_SECRET}'", (AWS_SECRET,)),
    "presigned url": (
        f"https://b.s3.example/k.tif?X-Amz-Credential={AWS_KEY}%2F20300101&X-Amz-Signature=0123abcdef456789",
        (AWS_KEY, "0123abcdef456789"),
    ),
    "presigned query": (
        "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Security-Token=IQoJplanted%2F%2F&X-Amz-Signature=0123abcdef456789",
        ("IQoJplanted", "0123abcdef456789"),
    ),
    "signed header": (
        f"Authorization: AWS4-HMAC-SHA256 Credential={AWS_KEY}/20300101/x, SignedHeaders=host, "
        "Signature=0123abcdef456789",
        (AWS_KEY, "0123abcdef456789"),
    ),
    "sas url": (f"https://acc.blob.example/c/a.tif?{SAS}", ("pL4nTedS4s",)),
    "sas alone": (f"token {SAS} refused", ("pL4nTedS4s",)),
    "bearer": ("authorization: Bearer s3cr3t-b34rer.token", ("s3cr3t-b34rer",)),
    "bearer alone": ("sent Bearer s3cr3t-b34rer.token to it", ("s3cr3t-b34rer",)),
    "basic": ("Authorization: Basic dXNlcjpwYTU1d29yZA==", ("dXNlcjpwYTU1d29yZA",)),
    "ray header": (f"X-Ray-Authorization: Bearer {RAY_TOKEN}", (RAY_TOKEN,)),
    "ray variable": (f"RAY_AUTH_TOKEN={RAY_TOKEN}", (RAY_TOKEN,)),
    "user in a url": ("https://someone:pa55w0rd!@host.example/a.tif", ("pa55w0rd", "someone")),
    "user without scheme": ("cannot resolve someone:pa55w0rd!@host.example", ("pa55w0rd",)),
    "database": ("postgresql://someone:pa55w0rd@db.example/x?password=pa55w0rd", ("pa55w0rd",)),
    "hugging face": (f"401 for {HF_TOKEN}", (HF_TOKEN,)),
    "json web token": (f"cookie {JWT};", (JWT, JWT.rpartition(".")[2])),
    "api key header": ("x-api-key: pl4nted-4pi-key", ("pl4nted-4pi-key",)),
    "subscription key": ("Ocp-Apim-Subscription-Key: pl4nted5ub5cr1pt10n", ("pl4nted5ub5cr1pt10n",)),
    "vsi options": (
        "/vsicurl?header.Authorization=Bearer%20s3cr3t-b34rer&url=https%3A%2F%2Fh",
        ("s3cr3t-b34rer",),
    ),
    "fragment": ("https://host.example/a.tif#access_token=pl4ntedfr4gment", ("pl4ntedfr4gment",)),
    "private key": (
        "-----BEGIN RSA PRIVATE KEY-----\nMIIEplantedplantedplanted\n-----END RSA PRIVATE KEY-----",
        ("MIIEplantedplantedplanted",),
    ),
}

SECRET_ENVIRONMENT = {
    "AWS_SECRET_ACCESS_KEY": AWS_SECRET,
    "AWS_SESSION_TOKEN": "IQoJb3JpZ2luX2VjplantedSESSION",
    "HF_TOKEN": HF_TOKEN,
    "RAY_AUTH_TOKEN": RAY_TOKEN,
    "PC_SDK_SUBSCRIPTION_KEY": "pl4nted5ub5cr1pt10nkey",
    "SOME_SERVICE_PASSWORD": "pl4ntedenvp455word",
    "AZURE_STORAGE_SAS_TOKEN": SAS,
}
"""Variables of a process, and values that appear in texts without their names."""


def all_secrets() -> set[str]:
    """Everything that must be nowhere."""
    return {secret for _, secrets in PLANTED.values() for secret in secrets} | set(
        SECRET_ENVIRONMENT.values()
    )
