"""Converts exceptions to RFC 9457 problem responses.

`exception_handler` is for DRF; the error views are for Django.
"""

import sys
from collections.abc import Iterator
from typing import Any

from django.core.exceptions import ObjectDoesNotExist, PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.views import exception_handler as drf_exception_handler

from core import error_events
from core.errors import (
    DomainError,
    FieldProblem,
    Invalid,
    NotFound,
    Unavailable,
)
from core.http.json_pointer import json_pointer
from core.http.problems import problem_of, problem_response
from core.storage.database import is_unavailable


def exception_handler(exc: Exception, context: dict[str, Any]) -> HttpResponse | None:
    """Return the problem response for an exception; None for a bug, which DRF raises again.

    Also publishes each 401, 403 and 429 to `core.error_events`.
    """
    request = context["request"]._request
    if is_unavailable(exc):
        exc = Unavailable()
    # ObjectDoesNotExist: the row was deleted after the view had read it.
    if isinstance(exc, Http404 | ObjectDoesNotExist):
        exc = NotFound()
    if isinstance(exc, DomainError):
        if exc.status in {401, 403, 429}:
            error_events.publish(request, exc)
        errors = exc.errors if isinstance(exc, Invalid) else ()
        return problem_response(
            exc.status,
            code=exc.code,
            detail=exc.message,
            errors=errors,
            headers=exc.headers,
            members=exc.members,
        )
    return _problem_from_drf(exc, drf_exception_handler(exc, context))


def _problem_from_drf(exc: Exception, response: Response | None) -> HttpResponse | None:
    """Return the problem response for the exceptions that DRF itself raises."""
    if response is None:
        return None
    if isinstance(exc, exceptions.ValidationError):
        errors = list(_field_problems(exc.get_full_details(), ()))
        return problem_response(400, code=Invalid.code, detail=Invalid.message, errors=errors)
    code = "refused"
    detail = "This request was refused."
    if isinstance(exc, exceptions.APIException):
        codes = exc.get_codes()
        code = codes if isinstance(codes, str) else code
        detail = str(exc.detail)
    elif isinstance(exc, PermissionDenied):
        code = "permission_denied"
        detail = "You may not do this."
    headers = {
        name: value
        for name, value in response.headers.items()
        if name in {"Allow", "Retry-After", "WWW-Authenticate"}
    }
    return problem_response(response.status_code, code=code, detail=detail, headers=headers)


def _field_problems(details: Any, path: tuple[str | int, ...]) -> Iterator[FieldProblem]:
    """Yield the errors in the nested details of a DRF ValidationError, with pointers below `path`."""
    if isinstance(details, dict) and set(details) == {"message", "code"}:
        yield FieldProblem(json_pointer(path), str(details["code"]), str(details["message"]))
    elif isinstance(details, dict):
        for name, inner in details.items():
            yield from _field_problems(inner, path if name == "non_field_errors" else (*path, name))
    elif isinstance(details, list):
        for index, inner in enumerate(details):
            is_error = isinstance(inner, dict) and set(inner) == {"message", "code"}
            yield from _field_problems(inner, path if is_error else (*path, index))


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    return problem_response(400, code="bad_request", detail="This request is not valid.")


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    return problem_response(403, code="permission_denied", detail="You may not do this.")


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    return problem_response(404, code=NotFound.code, detail=NotFound.message)


def server_error(request: HttpRequest) -> HttpResponse:
    """Answer 503 when the database is unavailable, else 500. Django calls this for unhandled exceptions."""
    exc = sys.exc_info()[1]
    if exc is not None and is_unavailable(exc):
        return problem_of(Unavailable())
    return problem_response(
        500, code="server_error", detail="Something went wrong on our side. We have a record of it."
    )
