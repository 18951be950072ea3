"""Decides requests by IAM policies, for tests: moto has no policy simulator.

It follows AWS's documented logic for one account: an explicit denial wins, else one permission is enough,
else the answer is no. It knows what our documents use, and raises for an element or operator that it does
not know: nothing is passed over in silence. A condition on a key that the request does not have is not met.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

Document = Mapping[str, Any]
Statement = Mapping[str, Any]

ELEMENTS = {"Sid", "Effect", "Principal", "Action", "Resource", "Condition"}


@dataclass(frozen=True, kw_only=True)
class Ask:
    """One request: an action on a resource, and what AWS knows about it (keys in AWS's words)."""

    action: str
    resource: str = "*"
    context: Mapping[str, str] = field(default_factory=dict)
    principal: tuple[str, str] | None = None
    """Kind and name, for policies of resources and of trust: ("Service", "pods.eks.amazonaws.com")."""


def is_allowed(documents: Iterable[Document], ask: Ask) -> bool:
    """Decide a request by all documents that apply to it. Raises ValueError for what is not known here."""
    effects = {
        statement["Effect"]
        for document in documents
        for statement in document["Statement"]
        if applies(statement, ask)
    }
    if not effects <= {"Allow", "Deny"}:
        raise ValueError(f"unknown effects: {effects}")
    return effects == {"Allow"}


def applies(statement: Statement, ask: Ask) -> bool:
    """Tell whether a statement speaks of a request."""
    if unknown := set(statement) - ELEMENTS:
        raise ValueError(f"unknown elements of a statement: {unknown}")
    return (
        _speaks_of(statement.get("Principal"), ask.principal)
        and any(_like(pattern.lower(), ask.action.lower()) for pattern in _several(statement["Action"]))
        and any(_like(pattern, ask.resource) for pattern in _several(statement.get("Resource", "*")))
        and all(
            _is_met(operator, _several(wanted), ask.context.get(key))
            for operator, keys in statement.get("Condition", {}).items()
            for key, wanted in keys.items()
        )
    )


def _speaks_of(principals: Any, principal: tuple[str, str] | None) -> bool:
    if principals is None or principals == "*" or principals == {"AWS": "*"}:
        return True
    if principal is None:
        return False
    kind, name = principal
    return name in _several(principals.get(kind, []))


def _is_met(operator: str, wanted: list[str], value: str | None) -> bool:
    if operator not in ("StringEquals", "StringLike", "ArnEquals", "ArnLike", "Bool"):
        raise ValueError(f"unknown operator of a condition: {operator}")
    if value is None:
        return False
    if operator in ("StringEquals", "Bool"):
        return value in wanted
    return any(_like(pattern, value) for pattern in wanted)


def _like(pattern: str, text: str) -> bool:
    """Compare as IAM does: `*` stands for any characters, `?` for one, and nothing else is special."""
    parts = (".*" if c == "*" else "." if c == "?" else re.escape(c) for c in pattern)
    return re.fullmatch("".join(parts), text, flags=re.DOTALL) is not None


def _several(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value)
