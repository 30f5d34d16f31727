"""The base class of API views: action policy, tenancy context, request bodies and idempotent POSTs."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar, cast

import structlog
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from rest_framework import serializers, viewsets
from rest_framework.permissions import AllowAny, IsAuthenticated
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
from core.http.action_policy import ActionPolicy, policy_of
from core.http.json_parser import MAX_BODY_BYTES
from core.http.json_pointer import json_pointer
from core.permissions import Caller

log = structlog.get_logger(__name__)


class ApiViewSet(viewsets.GenericViewSet[Any]):
    """Base class of API views. Each handler declares its policy with `@action_policy`.

    A view with `row_level_security` runs its handlers in one transaction, in the tenancy context of the
    signed-in user. A POST with an Idempotency-Key is executed once. `max_body_bytes` limits the request body.
    """

    max_body_bytes: ClassVar[int] = MAX_BODY_BYTES
    row_level_security: ClassVar[bool] = False
    lookup_value_converter = "uuid"

    @classmethod
    def as_view(cls, actions: Any = None, **initkwargs: Any) -> Any:
        """As in DRF. Raises ImproperlyConfigured, at start-up, for an action without a policy."""
        for action in (actions or {}).values():
            policy_of(cls, action)
        return super().as_view(actions, **initkwargs)

    @property
    def policy(self) -> ActionPolicy | None:
        """The policy of the requested action; None when the route does not have the request's method."""
        return getattr(getattr(self, self.action or "", None), "action_policy", None)

    def dispatch(  # type: ignore[override]
        self, request: HttpRequest, *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """As in DRF, with `run` around the handler."""
        self.args = args
        self.kwargs = kwargs
        self.request = wrapped = self.initialize_request(request, *args, **kwargs)
        self.headers = self.default_response_headers
        try:
            self.initial(wrapped, *args, **kwargs)
            handler = getattr(self, (wrapped.method or "").lower(), self.http_method_not_allowed)
            if (wrapped.method or "").lower() not in self.http_method_names:
                handler = self.http_method_not_allowed
            if wrapped.method in {"POST", "PUT", "PATCH"}:
                self._check_body(wrapped)
            response = self.run(lambda: self._handle(handler))
        # As in DRF: handle_exception raises again what it does not know.
        except Exception as exc:  # noqa: BLE001
            response = self.handle_exception(exc)
        self.response = self.finalize_response(wrapped, cast(Response, response), *args, **kwargs)
        return self.response

    def get_permissions(self) -> list[Any]:
        """DRF's permission classes, for the OpenAPI document. `check_permissions` enforces the policy."""
        return [AllowAny() if self.policy and self.policy.is_anonymous else IsAuthenticated()]

    def check_permissions(self, request: Request) -> None:
        """Enforce the policy of the action.

        Raises ImpersonationRefused, KeyNotAllowed, ScopeMissing, NotAuthenticated, PermissionDenied, and what
        `Caller.require_recent_proof` raises.
        """
        policy = self.policy
        if policy is None:
            self._check_unknown_method(request)
            return
        if policy.is_anonymous:
            return
        if getattr(request.auth, "impersonator", None) and not policy.impersonation:
            raise ImpersonationRefused
        scopes = getattr(request.auth, "scopes", None)
        if scopes is not None and policy.scope is None:
            raise KeyNotAllowed
        if scopes is not None and policy.scope and policy.scope.code not in scopes:
            raise ScopeMissing
        if not request.user.is_authenticated or (
            policy.permission and not self.caller.may(policy.permission)
        ):
            self.permission_denied(request)
        if policy.recent_proof and scopes is None:
            self.caller.require_recent_proof()

    def _check_unknown_method(self, request: Request) -> None:
        """Let a method that the route does not have through to its 405, if the caller may use the route."""
        if any(policy_of(type(self), action).is_anonymous for action in self.action_map.values()):
            return
        if getattr(request.auth, "scopes", None) is not None:
            raise KeyNotAllowed
        if not request.user.is_authenticated:
            self.permission_denied(request)

    def _handle(self, handler: Callable[..., HttpResponse]) -> HttpResponse:
        """Call the handler. Raises RuntimeError when it succeeds without the If-Match of its policy."""
        response = handler(self.request, *self.args, **self.kwargs)
        must_match = self.policy is not None and self.policy.if_match is True
        if must_match and response.status_code < 400 and "If-Match" not in self.request.headers:
            raise RuntimeError(f"{type(self).__qualname__}.{self.action} did not ask for If-Match")
        return response

    @property
    def caller(self) -> Caller:
        """The signed-in user. For actions that are not anonymous."""
        return cast(Caller, self.request.user)

    def run(self, handle: Callable[[], HttpResponse]) -> HttpResponse:
        key = self.request.headers.get("Idempotency-Key")
        repeatable = self.request.method == "POST" and not self.request.path.startswith("/api/v1/auth/")
        if key is None or not repeatable or not self.request.user.is_authenticated:
            with self.scope():
                return handle()
        return idempotency.execute_once(
            self.request,
            self.caller.pk,
            key,
            lambda: self._answer(handle),
            check_access=self.check_access,
        )

    def check_access(self) -> None:
        """Raise when the caller may not use this resource. The policy was enforced before."""

    def scope(self) -> AbstractContextManager[None]:
        """The tenancy context that the handler runs in."""
        return (
            tenancy.context(tenancy.user_context(self.caller.pk))
            if self.row_level_security
            else nullcontext()
        )

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
        body = self.policy.body if self.policy else "object"
        if body == "list":
            return
        if not isinstance(request.data, dict):
            raise Invalid([FieldProblem("", "not_an_object", "Send a JSON object.")])
        if request.data and body == "none":
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
