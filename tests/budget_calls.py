"""Calls of AWS Budgets that moto 5.2 does not know: subscribers of a notification, and tags.

moto keeps the subscribers and does not tell them; tags are kept here.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from io import BytesIO
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

TARGET = "AWSBudgetServiceGateway."


def with_budget_calls(app: WSGIApplication, account_id: str) -> WSGIApplication:
    """Answer the calls that moto's application `app` lacks, and leave all others to it."""
    tags: dict[str, list[dict[str, str]]] = {}

    def subscribers(request: dict[str, Any]) -> dict[str, Any]:
        from moto.budgets.models import budgets_backends

        budget = budgets_backends[account_id]["aws"].budgets[request["AccountId"]][request["BudgetName"]]
        asked = request["Notification"]
        held = next(
            held
            for held in budget.notifications
            if all(held.details[key] == asked[key] for key in ("NotificationType", "Threshold"))
        )
        return {"Subscribers": held.subscribers}

    def serve(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        target = environ.get("HTTP_X_AMZ_TARGET", "")
        if not target.startswith(TARGET):
            return app(environ, start_response)
        body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
        request = json.loads(body)
        match target.removeprefix(TARGET):
            case "DescribeSubscribersForNotification":
                answer = subscribers(request)
            case "ListTagsForResource":
                answer = {"ResourceTags": tags.get(request["ResourceARN"].rpartition("/")[2], [])}
            case call:
                if call == "CreateBudget":
                    tags[request["Budget"]["BudgetName"]] = request.get("ResourceTags", [])
                return app({**environ, "wsgi.input": BytesIO(body)}, start_response)
        start_response("200 OK", [("Content-Type", "application/x-amz-json-1.1")])
        return [json.dumps(answer).encode()]

    return serve
