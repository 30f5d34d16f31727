"""Additions to the OpenAPI document that drf-spectacular does not infer: problem responses and headers."""

import re
from typing import Any

from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import OpenApiParameter

from core.http.action_policy import IF_MATCH_OPTIONAL

PROBLEM_SCHEMA = {
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
EVERY_OPERATION = {
    400: "The request is not valid",
    406: "The API answers in JSON only",
    429: "Too many requests",
    503: "Try again in a moment",
}
WITH_CREDENTIAL = {401: "The credential is missing or not valid", 403: "Not allowed"}
WITH_BODY = {
    409: "In conflict with the present state",
    413: "The body is too large, or the storage quota of the owner is exceeded",
    415: "Send application/json",
    422: "Idempotency-Key reused",
}
WITH_IF_MATCH = {412: "Changed since you read it", 428: "If-Match is missing"}
SENTENCE_END = re.compile(r"\.\s+")


class ProblemAutoSchema(AutoSchema):
    """Documents the If-Match header of an action from its policy, and Idempotency-Key for every authenticated
    POST.
    """

    def get_summary(self) -> str:
        """Return the first sentence of the handler's docstring."""
        return self._sentences()[0]

    def get_description(self) -> str:  # type: ignore[override]
        """Return what the handler's docstring says after its first sentence."""
        return "".join(self._sentences()[1:])

    def _sentences(self) -> list[str]:
        """Return the first sentence of the docstring on one line, and the rest as it is written."""
        first, *rest = SENTENCE_END.split(str(super().get_description()), maxsplit=1)
        return [" ".join(first.removesuffix(".").split()), *rest]

    def get_override_parameters(self) -> list[Any]:
        parameters: list[Any] = []
        policy = getattr(self.view, "policy", None)
        if policy and policy.if_match is True:
            parameters.append(
                OpenApiParameter(
                    "If-Match",
                    str,
                    OpenApiParameter.HEADER,
                    required=True,
                    description="The ETag that you last read.",
                )
            )
        if policy and policy.if_match == IF_MATCH_OPTIONAL:
            parameters.append(
                OpenApiParameter(
                    "If-Match",
                    str,
                    OpenApiParameter.HEADER,
                    description="Change the draft only if it has this version.",
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
    """Add the problem responses of each operation. A postprocessing hook of drf-spectacular."""
    result["components"].setdefault("schemas", {})["Problem"] = PROBLEM_SCHEMA
    for path, operations in result["paths"].items():
        for method, operation in operations.items():
            statuses = dict(EVERY_OPERATION)
            if operation.get("security") or "/auth/" in path:
                statuses |= WITH_CREDENTIAL
            if "{" in path or "/invitations/" in path:
                statuses[404] = "Not found, or not visible to you"
            if method in {"post", "put", "patch", "delete"}:
                statuses |= WITH_BODY
            if any(item["name"] == "If-Match" for item in operation.get("parameters", [])):
                statuses |= WITH_IF_MATCH
            for status, description in statuses.items():
                content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
                operation["responses"].setdefault(
                    str(status), {"description": description, "content": content}
                )
    return result
