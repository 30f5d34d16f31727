"""What every API view shares: refusals as problems, contexts, conditional requests, safe repetition."""

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar, cast

import structlog
from django.core.exceptions import ObjectDoesNotExist, PermissionDenied
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from rest_framework import exceptions, serializers, viewsets
from rest_framework.permissions import AllowAny, BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import exception_handler as drf_exception_handler

from core import idempotency, refusals, tenancy
from core.database import is_away
from core.errors import (
    DomainError,
    FieldProblem,
    ImpersonationRefused,
    Invalid,
    KeyNotAllowed,
    NotFound,
    ScopeMissing,
    Unavailable,
)
from core.parsing import DEFAULT_LIMIT
from core.permissions import Caller, Permission
from core.pointers import pointer
from core.problems import problem

log = structlog.get_logger(__name__)


class StrictSerializer(serializers.Serializer[Any]):
    """Refuses fields it does not know, with a pointer to each."""

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, dict):
            writable = {name for name, field in self.fields.items() if not field.read_only}
            if unknown := sorted(set(data) - writable):
                detail = exceptions.ErrorDetail("This field is not known here.", code="unknown_field")
                raise serializers.ValidationError({name: [detail] for name in unknown})
        return super().to_internal_value(data)


class BoundedListSerializer(serializers.ListSerializer[Any]):
    """A list whose answer to nonsense stays small: after some faults it says so and looks no further."""

    most_faults = 20

    def to_internal_value(self, data: Any) -> Any:
        self._faults = 0
        return super().to_internal_value(data)

    def run_child_validation(self, data: Any) -> Any:
        try:
            return super().run_child_validation(data)
        except exceptions.ValidationError:
            self._faults += 1
            if self._faults > self.most_faults:
                raise Invalid(
                    [FieldProblem("", "many_faults", f"More than {self.most_faults} are not valid.")]
                ) from None
            raise


class ApiViewSet(viewsets.GenericViewSet[Any]):
    """A viewset whose handlers may run inside the caller's tenancy context and are safe to repeat with a key.

    Nobody does what is in `private` or `sensitive` in somebody else's name; the latter needs a recent proof too, where the view asks for one.
    `scopes` says which scope an API key needs for an action; without one keys are refused. Actions in `without_body` take none, those in `with_list` a list. `body_limit` is in bytes. `fenced` views run in the context of the signed-in user, in one transaction.
    """

    scopes: ClassVar[dict[str, Permission]] = {}
    private: ClassVar[tuple[str, ...]] = ()
    sensitive: ClassVar[tuple[str, ...]] = ()
    without_body: ClassVar[tuple[str, ...]] = ()
    with_list: ClassVar[tuple[str, ...]] = ()
    body_limit: ClassVar[int] = DEFAULT_LIMIT
    fenced: ClassVar[bool] = False
    lookup_value_converter = "uuid"

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:  # type: ignore[override]
        """As DRF's, with `run` around the handler."""
        self.args, self.kwargs = args, kwargs
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
        except Exception as exc:  # noqa: BLE001 - DRF's own contract: the handler re-raises what it does not know
            response = self.handle_exception(exc)
        self.response = self.finalize_response(wrapped, cast(Response, response), *args, **kwargs)
        return self.response

    def check_permissions(self, request: Request) -> None:
        """First whether the credential is a key that may not do this (KeyNotAllowed, ScopeMissing) or staff in somebody
        else's name (ImpersonationRefused), then as DRF's.
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
        return idempotency.once(self.request, self.caller.pk, key, lambda: self._answer(handle))

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
        """Parse before anything is looked up, so that a broken body never changes a thing. It must be an object, or a list where
        the view says so."""
        if self.action in self.with_list:
            return
        if not isinstance(request.data, dict):
            raise Invalid([FieldProblem("", "not_an_object", "Send a JSON object.")])
        if request.data and self.action in self.without_body:
            raise Invalid(
                [
                    FieldProblem(pointer([name]), "unknown_field", "This route takes no body.")
                    for name in sorted(request.data)
                ]
            )

    def validated(self, serializer: type[serializers.Serializer[Any]], *, partial: bool = False) -> dict[str, Any]:
        """The request body as `serializer` sees it. Raises Invalid or ValidationError."""
        bound = serializer(data=self.request.data, partial=partial, context=self.get_serializer_context())
        bound.is_valid(raise_exception=True)
        return dict(bound.validated_data)


def allow(*needed: Permission) -> type[BasePermission]:
    """A permission class for holders of all `needed`."""

    class Allowed(BasePermission):
        all_of = needed

        def has_permission(self, request: Request, view: Any) -> bool:
            caller = cast(Caller, request.user)
            return bool(request.user.is_authenticated) and all(caller.may(item) for item in needed)

    return Allowed


def allow_by_action(needed: dict[str, Permission]) -> type[BasePermission]:
    """A permission class that asks for another permission for each action; an action that is not named is refused."""

    class Allowed(BasePermission):
        by_action = needed

        def has_permission(self, request: Request, view: Any) -> bool:
            permission = needed.get(view.action)
            caller = cast(Caller, request.user)
            return bool(request.user.is_authenticated and permission and caller.may(permission))

    return Allowed


def etag(version: int) -> str:
    return f'"{version}"'


def versioned(data: Any, version: int, *, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """An answer that carries its version as ETag."""
    return Response(
        data, status=status, headers={"ETag": etag(version), "Cache-Control": "private, no-cache", **(headers or {})}
    )


def exception_handler(exc: Exception, context: dict[str, Any]) -> HttpResponse | None:
    """Refusals become problems here and nowhere else; bugs stay bugs."""
    request = context["request"]._request
    if is_away(exc):
        exc = Unavailable()
    if isinstance(exc, Http404 | ObjectDoesNotExist):  # the latter: gone since the view looked
        exc = NotFound()
    if isinstance(exc, DomainError):
        if exc.status in {401, 403, 429}:
            refusals.report(request, exc)
        errors = exc.errors if isinstance(exc, Invalid) else ()
        return problem(
            exc.status, code=exc.code, detail=exc.message, errors=errors, headers=exc.headers, members=exc.members
        )
    return _reshape(exc, drf_exception_handler(exc, context))


def _reshape(exc: Exception, response: Response | None) -> HttpResponse | None:
    """The same members for what DRF itself refuses."""
    if response is None:
        return None
    if isinstance(exc, exceptions.ValidationError):
        errors = list(_field_problems(exc.get_full_details(), ()))
        return problem(400, code=Invalid.code, detail=Invalid.message, errors=errors)
    code, detail = "refused", "This request was refused."
    if isinstance(exc, exceptions.APIException):
        codes = exc.get_codes()
        code, detail = (codes if isinstance(codes, str) else code), str(exc.detail)
    elif isinstance(exc, PermissionDenied):
        code, detail = "permission_denied", "You may not do this."
    kept = {
        name: value for name, value in response.headers.items() if name in {"Allow", "Retry-After", "WWW-Authenticate"}
    }
    return problem(response.status_code, code=code, detail=detail, headers=kept)


def _field_problems(details: Any, place: tuple[str | int, ...]) -> Any:
    if isinstance(details, dict) and set(details) == {"message", "code"}:
        yield FieldProblem(pointer(place), str(details["code"]), str(details["message"]))
    elif isinstance(details, dict):
        for name, inner in details.items():
            yield from _field_problems(inner, place if name == "non_field_errors" else (*place, name))
    elif isinstance(details, list):
        for index, inner in enumerate(details):
            leaf = isinstance(inner, dict) and set(inner) == {"message", "code"}
            yield from _field_problems(inner, place if leaf else (*place, index))


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    return problem(400, code="bad_request", detail="This request is not valid.")


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    return problem(403, code="permission_denied", detail="You may not do this.")


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    return problem(404, code=NotFound.code, detail=NotFound.message)


def server_error(request: HttpRequest) -> HttpResponse:
    """The last resort. A database that is away is not our bug and says when to come back."""
    exc = sys.exc_info()[1]
    if exc is not None and is_away(exc):
        return problem(503, code=Unavailable.code, detail=Unavailable.message, headers=Unavailable().headers)
    return problem(500, code="server_error", detail="Something went wrong on our side. We have a record of it.")
