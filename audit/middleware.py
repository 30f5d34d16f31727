"""Middleware that binds the origin of a request, so that every audit entry of the request carries it."""

from collections.abc import Callable

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from audit import actors
from core.http.client_address import client_address, network_prefix


class OriginMiddleware:
    """Bind request id, session, network and impersonator.

    It stands after `AdmissionMiddleware`, which sets `request.principal` from the verified credential.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        principal = getattr(request, "principal", None)
        with actors.request_origin(
            request_id=request.request_id,  # type: ignore[attr-defined]
            session_id=principal.session_id if principal else None,
            network=network_prefix(client_address(request)),
            impersonator_id=principal.impersonator if principal else None,
        ):
            return self.get_response(request)
