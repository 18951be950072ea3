from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from sas_server import SECRET, SasServer, sas_server

from pipeline.files import remote_object, sas_tokens, signing
from pipeline.files.remote_error import RemoteError
from pipeline.files.remote_object import HEAD_BYTES, RemoteObject, Terms
from pipeline.files.sas_tokens import PlanetaryComputerSigner
from pipeline.files.signing import HrefSigner, refusal_remedy, renewed, signed, signer_for
from pipeline.schema.imagery import HrefGuard

CONTENT = bytes(range(256)) * 500
FAR = (2 * HEAD_BYTES, 3 * HEAD_BYTES)
PC = "planetary-computer"


@dataclass
class FakeSigner:
    """A plugged-in signer with tokens 1, 2, 3 ..."""

    hosts: tuple[str, ...] = ("*.example.org",)
    number: int = 1
    renewals: int = 0
    fails: list[Exception] = field(default_factory=list)

    def sign(self, href: str) -> str:
        if self.fails:
            raise self.fails.pop()
        return f"{href}?t={self.number}"

    def renew(self, href: str) -> None:
        self.renewals += 1
        self.number += 1


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeSigner:
    made = FakeSigner()
    conforming: HrefSigner = made
    monkeypatch.setattr(signing, "_signers", lambda: {"fake": conforming, PC: PlanetaryComputerSigner()})
    return made


def test_a_signer_is_found_by_host(fake: FakeSigner) -> None:
    assert signer_for("https://naipeuwest.blob.core.windows.net/naip/a.tif") == PC
    assert signer_for("https://data.example.org/a.tif") == "fake"
    assert signer_for("https://data.example.org/a.tif?sig=mine") == ""
    for href in (
        "https://example.com/a.tif",
        "s3://bucket/a.tif",
        "/data/a.tif",
        "https://example.org/a.tif",
    ):
        assert signer_for(href) == ""


def test_an_href_is_signed_by_name(fake: FakeSigner) -> None:
    assert signed("https://data.example.org/a.tif", "fake") == "https://data.example.org/a.tif?t=1"
    assert signed("https://data.example.org/a.tif", "") == "https://data.example.org/a.tif"
    with pytest.raises(RemoteError, match="signer lost is not installed"):
        signed("https://data.example.org/a.tif", "lost")


def test_of_many_refusals_one_renews(fake: FakeSigner) -> None:
    href = "https://data.example.org/a.tif"
    refused = signed(href, "fake")
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: renewed(href, "fake", refused=refused), range(16)))
    assert found == {f"{href}?t=2"}
    assert fake.renewals == 1


def test_a_signer_that_fails_shows_nothing_of_itself(fake: FakeSigner) -> None:
    fake.fails = [RuntimeError(f"https://h/?sig={SECRET}")]
    with pytest.raises(RemoteError, match=r"signer fake failed \(RuntimeError\)") as caught:
        signed("https://data.example.org/a.tif", "fake")
    assert SECRET not in f"{caught.value!r} {caught.value.__cause__!r} {caught.value.__context__!r}"
    fake.fails = [RemoteError("n", "busy", retryable=True)]
    with pytest.raises(RemoteError, match="busy"):
        signed("https://data.example.org/a.tif", "fake")


def test_each_refusal_has_its_remedy() -> None:
    assert "check your access" in refusal_remedy("https://h/a.tif?t=1", "fake")
    assert "sign the URL again" in refusal_remedy("https://h/a.tif?t=1", "")
    assert "give a signed URL" in refusal_remedy("https://h/a.tif", "")


def test_signers_are_plugged_in_by_an_installed_package(tmp_path: Path) -> None:
    """In a process of its own, with a package as pip installs one."""
    (tmp_path / "my_signer.py").write_text(
        "class MySigner:\n"
        "    hosts = ('data.example.org',)\n"
        "    def sign(self, href): return href + '?mine=1'\n"
        "    def renew(self, href): pass\n"
    )
    info = tmp_path / "my_signer-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-signer\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[terraquery.signers]\nmine = my_signer:MySigner\n")
    script = (
        "from pipeline.files.signing import signed, signer_for\n"
        "name = signer_for('https://data.example.org/a.tif')\n"
        "print(name, signed('https://data.example.org/a.tif', name))\n"
        "print(signer_for('https://a.blob.core.windows.net/c/a.tif'))\n"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), os.getcwd()])}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=env, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == ["mine", "https://data.example.org/a.tif?mine=1", PC]


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SasServer]:
    """The storage of one container, read through a proxy on this machine under its real name."""
    monkeypatch.setattr(remote_object, "SECOND_TRY_S", 0.0)
    monkeypatch.setenv("GDAL_HTTP_MAX_RETRY", "0")
    (tmp_path / "naip").mkdir()
    (tmp_path / "naip" / "a.tif").write_bytes(CONTENT)
    signing._signers.cache_clear()
    with sas_server(tmp_path) as server:
        monkeypatch.setenv("PC_SDK_SAS_URL", server.token_url())
        monkeypatch.setenv("http_proxy", server.url)
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        yield server
    signing._signers.cache_clear()


HREF = "http://naipeuwest.blob.core.windows.net/naip/a.tif"
TERMS = Terms(signer=PC, guard=HrefGuard(hosts=("*.blob.core.windows.net",)))


def test_hrefs_are_signed_when_they_are_read(server: SasServer) -> None:
    opened = RemoteObject(HREF, terms=TERMS)
    assert opened.read(*FAR) == CONTENT[slice(*FAR)]
    assert server.reads == [("/naip/a.tif", 206)] * 2
    assert len(server.tokens) == 1
    assert opened.name == HREF


def test_a_storage_that_refuses_every_token_does_not_flood_the_endpoint(server: SasServer) -> None:
    server.refuses_from = 0
    for _ in range(5):
        with pytest.raises(RemoteError, match="gave new tokens"):
            RemoteObject(HREF, terms=TERMS)
    assert len(server.tokens) == 2
    assert len(server.reads) == 6


def test_a_token_that_expires_between_two_reads_is_renewed(
    server: SasServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The storage refuses the old one, although the endpoint said that it would last."""
    monkeypatch.setattr(sas_tokens, "RENEWAL_PAUSE_S", 0.0)
    server.life_s = -1
    server.said_s = 3600
    with pytest.raises(RemoteError, match="gave new tokens"):
        RemoteObject(HREF, terms=TERMS)
    assert [status for _, status in server.reads] == [403, 403]  # once, not for ever
    server.life_s = 3600
    opened = RemoteObject(HREF, terms=TERMS)
    server.revoked = set(range(len(server.tokens)))
    assert opened.read(*FAR) == CONTENT[slice(*FAR)]
    assert [status for _, status in server.reads] == [403, 403, 403, 206, 403, 206]


def test_a_token_near_its_end_is_renewed_without_a_refusal(server: SasServer) -> None:
    server.life_s = 1.0  # less than the margin, so it is kept for half a second
    opened = RemoteObject(HREF, terms=TERMS)
    for token in signing._signers()[PC]._tokens.values():  # type: ignore[attr-defined]
        object.__setattr__(token, "until", 0.0)
    assert opened.read(*FAR) == CONTENT[slice(*FAR)]
    assert [status for _, status in server.reads] == [206, 206]
    assert len(server.tokens) == 2


def test_nothing_that_may_be_kept_holds_a_token(server: SasServer) -> None:
    opened = RemoteObject(HREF, terms=TERMS)
    server.life_s = -1
    server.revoked = {0}
    with pytest.raises(RemoteError) as caught:
        opened.read(*FAR)
    kept = f"{caught.value!r} {caught.value.__context__!r} {opened.name} {opened.identity} {vars(opened)}"
    assert SECRET not in kept
    assert SECRET.encode() not in pickle.dumps((caught.value, TERMS))
