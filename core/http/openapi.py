"""What drf-spectacular cannot see by itself: problems, conditional headers, the size of lists."""

import re
from typing import Any

from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import OpenApiParameter

from core.http.action_policy import OPTIONAL

PROBLEM = {
    "type": "object",
    "description": "RFC 9457 problem details.",
    "required": ["type", "title", "status", "detail", "code"],
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["pointer", "code", "detail"],
                "properties": {
                    "pointer": {"type": "string", "description": "JSON Pointer (RFC 6901) into the body."},
                    "code": {"type": "string"},
                    "detail": {"type": "string"},
                },
            },
        },
    },
}
ALWAYS = {
    400: "The request is not valid",
    406: "Only JSON is spoken here",
    429: "Too many requests",
    503: "Try again in a moment",
}
SIGNED_IN = {401: "The credential is missing or not valid", 403: "Not allowed"}
BODY = {
    409: "In conflict with what is there",
    413: "The body is too large",
    415: "Send application/json",
    422: "Idempotency-Key reused",
}
CONDITIONAL = {412: "Changed since you read it", 428: "If-Match is missing"}


class ProblemAutoSchema(AutoSchema):
    """Documents the If-Match header of an action from its policy, and Idempotency-Key for every authenticated POST."""

    def get_summary(self) -> str:
        """Return the first sentence of the handler's docstring."""
        return self._sentences()[0].removesuffix(".")

    def get_description(self) -> str:  # type: ignore[override]
        """Return what the handler's docstring says after its first sentence."""
        return "".join(self._sentences()[1:])

    def _sentences(self) -> list[str]:
        """Return the first sentence of the docstring on one line, and the rest as it is written."""
        first, *rest = re.split(r"\.\s+", str(super().get_description()), maxsplit=1)
        return [" ".join(first.split()), *rest]

    def get_override_parameters(self) -> list[Any]:
        parameters: list[Any] = []
        policy = getattr(self.view, "policy", None)
        if policy and policy.if_match is True:
            parameters.append(
                OpenApiParameter(
                    "If-Match", str, OpenApiParameter.HEADER, required=True, description="ETag last read."
                )
            )
        if policy and policy.if_match == OPTIONAL:
            parameters.append(
                OpenApiParameter(
                    "If-Match", str, OpenApiParameter.HEADER, description="Only if the draft is that version."
                )
            )
        if self.method == "POST" and self.get_auth() and "/auth/" not in self.path:
            parameters.append(
                OpenApiParameter(
                    "Idempotency-Key",
                    str,
                    OpenApiParameter.HEADER,
                    description="Makes a repeated POST act once.",
                )
            )
        return parameters


def describe_problems(result: dict[str, Any], generator: Any, request: Any, public: bool) -> dict[str, Any]:
    """Give every operation the problems it may answer with."""
    result["components"].setdefault("schemas", {})["Problem"] = PROBLEM
    for path, operations in result["paths"].items():
        for method, operation in operations.items():
            statuses = dict(ALWAYS)
            if operation.get("security") or "/auth/" in path:
                statuses |= SIGNED_IN
            if "{" in path or "/invitations/" in path:
                statuses[404] = "Not there, or not yours"
            if method in {"post", "put", "patch", "delete"}:
                statuses |= BODY
            if any(item["name"] == "If-Match" for item in operation.get("parameters", [])):
                statuses |= CONDITIONAL
            for status, description in statuses.items():
                content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
                operation["responses"].setdefault(
                    str(status), {"description": description, "content": content}
                )
    return result
