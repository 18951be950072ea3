"""Calls of Amazon EKS that moto 5.2 does not know: add-ons, pod identity, access entries.

They stand before moto's own application and answer from memory, so that a whole environment can be applied.
botocore's description of EKS says which calls there are, where they are, and what a request must hold; what
is checked beyond that is what the real service refuses too: an unknown cluster, a second entry of one name. A
request that comes again with its clientRequestToken, because its answer was lost, gets the same answer again.
"""

from __future__ import annotations

import gzip
import json
import re
import threading
import time
import urllib.parse
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

Body = dict[str, Any]
Kept = dict[tuple[str, ...], Body]

CALLS = {
    "CreateAddon",
    "DescribeAddon",
    "DeleteAddon",
    "CreatePodIdentityAssociation",
    "DescribePodIdentityAssociation",
    "DeletePodIdentityAssociation",
    "CreateAccessEntry",
    "DescribeAccessEntry",
    "DeleteAccessEntry",
    "AssociateAccessPolicy",
    "ListAssociatedAccessPolicies",
    "DisassociateAccessPolicy",
}


class RefusedCallError(Exception):
    """An answer that is an error: its status and its name in the words of AWS."""

    def __init__(self, status: int, name: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.name = name


@dataclass(frozen=True, kw_only=True)
class Call:
    """One call that is answered here: its name, its address, and the shape of its request."""

    name: str
    method: str
    path: re.Pattern[str]
    shape: Any


def known_calls() -> list[Call]:
    """Give the calls of CALLS as botocore describes them."""
    import botocore
    from botocore.model import ServiceModel

    described = Path(botocore.__file__).parent / "data/eks/2017-11-01/service-2.json.gz"
    service = ServiceModel(json.loads(gzip.decompress(described.read_bytes())), service_name="eks")
    calls = []
    for name in sorted(CALLS):
        operation = service.operation_model(name)
        address = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", operation.http["requestUri"])
        calls.append(
            Call(
                name=name,
                method=operation.http["method"],
                path=re.compile(address + "$"),
                shape=operation.input_shape,
            )
        )
    return calls


@dataclass(kw_only=True)
class EksCalls:
    """What these calls have made, and the answers to them. `clusters()` gives the clusters that exist."""

    account_id: str
    region: str
    clusters: Any
    addons: Kept = field(default_factory=dict)
    associations: Kept = field(default_factory=dict)
    entries: Kept = field(default_factory=dict)
    policies: Kept = field(default_factory=dict)
    _answered: Kept = field(default_factory=dict)
    _turn: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, name: str, request: Body) -> Body:
        """Answer a valid request of the call `name`. Raises RefusedCallError."""
        token = request.get("clientRequestToken")
        with self._turn:
            if token is None:
                return self._answer(name, request)
            if (name, token) not in self._answered:
                self._answered[name, token] = self._answer(name, request)
            return self._answered[name, token]

    def _answer(self, name: str, request: Body) -> Body:
        cluster = request["clusterName"]
        if cluster not in self.clusters():
            raise RefusedCallError(404, "ResourceNotFoundException", f"No cluster found for name: {cluster}.")
        answers = {
            "CreateAddon": self._create_addon,
            "CreatePodIdentityAssociation": self._create_association,
            "CreateAccessEntry": self._create_entry,
            "AssociateAccessPolicy": self._associate_policy,
            "ListAssociatedAccessPolicies": self._list_policies,
        }
        if name in answers:
            return answers[name](request)
        verb, noun = re.fullmatch(r"(Describe|Delete|Disassociate)(\w+)", name).groups()  # type: ignore[union-attr]
        kept, part, answered = {
            "Addon": (self.addons, "addonName", "addon"),
            "PodIdentityAssociation": (self.associations, "associationId", "association"),
            "AccessEntry": (self.entries, "principalArn", "accessEntry"),
            "AccessPolicy": (self.policies, "policyArn", "associatedAccessPolicy"),
        }[noun]
        key = (cluster, request[part])
        if noun == "AccessPolicy":
            key = (cluster, request["principalArn"], request[part])
        if key not in kept:
            raise RefusedCallError(
                404, "ResourceNotFoundException", f"There is no {answered} {request[part]}"
            )
        found = kept[key] if verb == "Describe" else kept.pop(key)
        if name == "DeleteAddon":
            self._drop_associations(found["podIdentityAssociations"])
        return {answered: found}

    def _create_addon(self, request: Body) -> Body:
        cluster = request["clusterName"]
        self._refuse_second(self.addons, (cluster, request["addonName"]))
        associations = [
            self._create_association({**wanted, "clusterName": cluster, "namespace": "kube-system"})
            for wanted in request.get("podIdentityAssociations", [])
        ]
        addon = {
            "addonVersion": "v1.0.0-eksbuild.1",
            **request,
            "addonArn": self._arn(f"addon/{cluster}/{request['addonName']}/{uuid.uuid4()}"),
            "status": "ACTIVE",
            "health": {"issues": []},
            "podIdentityAssociations": [a["association"]["associationArn"] for a in associations],
            **self._times(),
        }
        return {"addon": self._keep(self.addons, (cluster, request["addonName"]), addon)}

    def _create_association(self, request: Body) -> Body:
        cluster = request["clusterName"]
        taken = (request["namespace"], request["serviceAccount"])
        for held in self.associations.values():
            if held["clusterName"] == cluster and (held["namespace"], held["serviceAccount"]) == taken:
                raise RefusedCallError(409, "ResourceInUseException", f"Association already exists: {taken}")
        name = "a-" + uuid.uuid4().hex[:16]
        association = {
            **request,
            "associationId": name,
            "associationArn": self._arn(f"podidentityassociation/{cluster}/{name}"),
            **self._times(),
        }
        return {"association": self._keep(self.associations, (cluster, name), association)}

    def _drop_associations(self, arns: list[str]) -> None:
        """An add-on takes its own associations with it."""
        dropped = [key for key, held in self.associations.items() if held["associationArn"] in arns]
        for key in dropped:
            del self.associations[key]

    def _create_entry(self, request: Body) -> Body:
        cluster = request["clusterName"]
        entry = {
            "kubernetesGroups": [],
            "type": "STANDARD",
            "username": request["principalArn"],
            **request,
            "accessEntryArn": self._arn(f"access-entry/{cluster}/{uuid.uuid4()}"),
            **self._times(),
        }
        return {"accessEntry": self._keep(self.entries, (cluster, request["principalArn"]), entry)}

    def _associate_policy(self, request: Body) -> Body:
        key = (request["clusterName"], request["principalArn"])
        if key not in self.entries:
            raise RefusedCallError(404, "ResourceNotFoundException", f"There is no access entry of {key[1]}")
        policy = {
            "policyArn": request["policyArn"],
            "accessScope": {"namespaces": [], **request["accessScope"]},
            "associatedAt": time.time(),
            "modifiedAt": time.time(),
        }
        self.policies[(*key, request["policyArn"])] = policy
        return {"clusterName": key[0], "principalArn": key[1], "associatedAccessPolicy": policy}

    def _list_policies(self, request: Body) -> Body:
        holder = (request["clusterName"], request["principalArn"])
        held = [policy for key, policy in self.policies.items() if key[:2] == holder]
        return {"clusterName": holder[0], "principalArn": holder[1], "associatedAccessPolicies": held}

    @staticmethod
    def _refuse_second(kept: Kept, key: tuple[str, ...]) -> None:
        if key in kept:
            raise RefusedCallError(409, "ResourceInUseException", f"There is one already: {' '.join(key)}")

    def _keep(self, kept: Kept, key: tuple[str, ...], body: Body) -> Body:
        self._refuse_second(kept, key)
        body.pop("clientRequestToken", None)
        kept[key] = body
        return body

    def _arn(self, rest: str) -> str:
        return f"arn:aws:eks:{self.region}:{self.account_id}:{rest}"

    @staticmethod
    def _times() -> Body:
        return {"createdAt": time.time(), "modifiedAt": time.time()}


def with_eks_calls(app: WSGIApplication, eks: EksCalls) -> WSGIApplication:
    """Answer the calls that `eks` knows, and leave all others to `app`."""
    calls = known_calls()

    def serve(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        address = urllib.parse.urlsplit(environ.get("RAW_URI") or environ["PATH_INFO"]).path
        found = [
            (call, match)
            for call in calls
            if call.method == environ["REQUEST_METHOD"] and (match := call.path.match(address))
        ]
        if not found or "/eks/" not in environ.get("HTTP_AUTHORIZATION", ""):
            return app(environ, start_response)
        call, match = found[0]
        try:
            status, body = 200, eks.answer(call.name, _request(call, match, environ))
            headers = []
        except RefusedCallError as refused:
            status, body = refused.status, {"message": str(refused)}
            headers = [("x-amzn-ErrorType", refused.name)]
        start_response(f"{status} .", [("Content-Type", "application/json"), *headers])
        return [json.dumps(body).encode()]

    return serve


def _request(call: Call, match: re.Match[str], environ: WSGIEnvironment) -> Body:
    """Read a request: its address and its body. Raises RefusedCallError for an invalid one."""
    from botocore.validate import ParamValidator

    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    request = json.loads(body) if body else {}
    for member, shape in call.shape.members.items():
        place = shape.serialization.get("name", member)
        if shape.serialization.get("location") == "uri":
            request[member] = urllib.parse.unquote(match[place])
    report = ParamValidator().validate(request, call.shape)
    unknown = set(request) - set(call.shape.members)
    if report.has_errors() or unknown:
        raise RefusedCallError(
            400, "InvalidParameterException", report.generate_report() or f"unknown: {unknown}"
        )
    return request
