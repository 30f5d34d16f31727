"""What every API view shares: refusals as problems, contexts, conditional requests, safe repetition."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar, cast

import structlog
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from rest_framework import serializers, viewsets
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response

from core import tenancy
from core.errors import (
    FieldProblem,
    ImpersonationRefused,
    Invalid,
    KeyNotAllowed,
    ScopeMissing,
)
from core.http import idempotency
from core.http.json_parser import MAX_BODY_BYTES
from core.http.json_pointer import json_pointer
from core.permissions import Caller, Permission

log = structlog.get_logger(__name__)


class ApiViewSet(viewsets.GenericViewSet[Any]):
    """A viewset whose handlers may run inside the caller's tenancy context and are safe to repeat with a key.

    Nobody does what is in `private` or `sensitive` in somebody else's name; the latter needs a recent proof
    too, where the view asks for one. `scopes` says which scope an API key needs for an action; without one
    keys are refused. Actions in `without_body` take none, those in `with_list` a list. `body_limit` is in
    bytes. `fenced` views run in the context of the signed-in user, in one transaction.
    """

    scopes: ClassVar[dict[str, Permission]] = {}
    private: ClassVar[tuple[str, ...]] = ()
    sensitive: ClassVar[tuple[str, ...]] = ()
    without_body: ClassVar[tuple[str, ...]] = ()
    with_list: ClassVar[tuple[str, ...]] = ()
    body_limit: ClassVar[int] = MAX_BODY_BYTES
    fenced: ClassVar[bool] = False
    lookup_value_converter = "uuid"

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:  # type: ignore[override]
        """As DRF's, with `run` around the handler."""
        self.args = args
        self.kwargs = kwargs
        self.request = wrapped = self.initialize_request(request, *args, **kwargs)
        self.headers = self.default_response_headers
        try:
            self.initial(wrapped, *args, **kwargs)
            known = (wrapped.method or "").lower() in self.http_method_names
            handler = (
                getattr(self, (wrapped.method or "").lower(), self.http_method_not_allowed)
                if known
                else self.http_method_not_allowed
            )
            if wrapped.method in {"POST", "PUT", "PATCH"}:
                self._check_body(wrapped)
            response = self.run(lambda: handler(wrapped, *args, **kwargs))
        # DRF's own contract: the handler re-raises what it does not know.
        except Exception as exc:  # noqa: BLE001
            response = self.handle_exception(exc)
        self.response = self.finalize_response(wrapped, cast(Response, response), *args, **kwargs)
        return self.response

    def check_permissions(self, request: Request) -> None:
        """First whether the credential is a key that may not do this (KeyNotAllowed, ScopeMissing) or staff
        in somebody else's name (ImpersonationRefused), then as DRF's.
        """
        if getattr(request.auth, "impersonator", None) and self.is_private():
            raise ImpersonationRefused
        scopes = getattr(request.auth, "scopes", None)
        if scopes is not None and AllowAny not in self.permission_classes:
            needed = self.scopes.get(self.action or "")
            if needed is None:
                raise KeyNotAllowed
            if needed.code not in scopes:
                raise ScopeMissing
        super().check_permissions(request)

    def is_private(self) -> bool:
        """Whether nobody does this action in somebody else's name."""
        return self.action in self.private or self.action in self.sensitive

    @property
    def caller(self) -> Caller:
        """Who is signed in. For views that need it to be somebody."""
        return cast(Caller, self.request.user)

    def run(self, handle: Callable[[], HttpResponse]) -> HttpResponse:
        key = self.request.headers.get("Idempotency-Key")
        repeatable = self.request.method == "POST" and not self.request.path.startswith("/api/v1/auth/")
        if key is None or not repeatable or not self.request.user.is_authenticated:
            with self.scope():
                return handle()
        return idempotency.execute_once(self.request, self.caller.pk, key, lambda: self._answer(handle))

    def scope(self) -> AbstractContextManager[None]:
        """The tenancy context that the handler runs in."""
        return tenancy.context(tenancy.user_context(self.caller.pk)) if self.fenced else nullcontext()

    def _answer(self, handle: Callable[[], HttpResponse]) -> HttpResponse:
        """The rendered answer, refusals included; what broke is raised."""
        try:
            with transaction.atomic(), self.scope():
                response = handle()
        except Exception as exc:  # noqa: BLE001 - as in dispatch
            response = self.handle_exception(exc)
        return self.finalize_response(self.request, cast(Response, response), *self.args, **self.kwargs)

    def _check_body(self, request: Request) -> None:
        """Parse before anything is looked up, so that a broken body never changes a thing.

        It must be an object, or a list where the view says so.
        """
        if self.action in self.with_list:
            return
        if not isinstance(request.data, dict):
            raise Invalid([FieldProblem("", "not_an_object", "Send a JSON object.")])
        if request.data and self.action in self.without_body:
            raise Invalid(
                [
                    FieldProblem(json_pointer([name]), "unknown_field", "This route takes no body.")
                    for name in sorted(request.data)
                ]
            )

    def validated(
        self, serializer: type[serializers.Serializer[Any]], *, partial: bool = False
    ) -> dict[str, Any]:
        """The request body as `serializer` sees it. Raises Invalid or ValidationError."""
        bound = serializer(data=self.request.data, partial=partial, context=self.get_serializer_context())
        bound.is_valid(raise_exception=True)
        return dict(bound.validated_data)
