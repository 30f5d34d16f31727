"""Responses with RFC 9457 problem details, the format of every error."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from http import HTTPStatus
from typing import Any

from django.http import HttpResponse

from core.errors import DomainError, FieldProblem

MEDIA_TYPE = "application/problem+json"


def problem_response(
    status: int,
    *,
    code: str,
    detail: str,
    errors: Sequence[FieldProblem] = (),
    headers: Mapping[str, str] | None = None,
    members: Mapping[str, Any] | None = None,
) -> HttpResponse:
    """Return a problem response that is never cached.

    `code` is part of the API contract. `detail` is shown to users and must not contain ids, SQL or paths.
    `members` are extension members of the problem.
    """
    body: dict[str, Any] = {
        "type": f"urn:getyousite:problem:{code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "code": code,
        **(members or {}),
    }
    if errors:
        body["errors"] = [asdict(error) for error in errors]
    response = HttpResponse(json.dumps(body, ensure_ascii=False), status=status, content_type=MEDIA_TYPE)
    response["Cache-Control"] = "no-store"
    for name, value in (headers or {}).items():
        response[name] = value
    return response


def problem_of(error: DomainError) -> HttpResponse:
    """Return the problem response of an error without fields."""
    return problem_response(error.status, code=error.code, detail=error.message, headers=error.headers)
