"""Sign-up, sign-in and one's own account."""

from typing import Any

from django.conf import settings
from django.db.models import prefetch_related_objects
from django.utils import timezone
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework.permissions import AllowAny, IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response

from accounts import services
from accounts.errors import OriginRefused, RefreshRefused
from accounts.models import Session, User
from accounts.passwords import MAX_BYTES, MIN_LENGTH
from accounts.serializers import (
    AccessSerializer,
    ConfigSerializer,
    LoginSerializer,
    ProfileSerializer,
    RegisterSerializer,
    SignedInSerializer,
    UserSerializer,
)
from accounts.tokens import mint_access, refresh_token
from audit import actors
from core.api import ApiViewSet, versioned
from core.limits import client_address, network_prefix
from core.parsing import DEFAULT_LIMIT
from core.preconditions import if_match

COOKIE = "refresh" if settings.DEVELOPMENT else "__Host-refresh"
NO_STORE = {"Cache-Control": "no-store"}


def device_of(request: Request) -> services.Device:
    """The agent and the network prefix of a request."""
    return services.Device(request.headers.get("User-Agent", ""), network_prefix(client_address(request._request)))


def set_refresh(response: Response, session: Session, token: str) -> Response:
    """The refresh token leaves in this cookie only."""
    age = int((session.expires_at - timezone.now()).total_seconds())
    response.set_cookie(
        COOKIE, token, max_age=age, path="/", secure=not settings.DEVELOPMENT, httponly=True, samesite="Strict"
    )
    return response


def clear_refresh(response: Response) -> Response:
    response.set_cookie(
        COOKIE, "", max_age=0, path="/", secure=not settings.DEVELOPMENT, httponly=True, samesite="Strict"
    )
    return response


def check_origin(request: Request) -> None:
    """Only our own page or a named front end may use the cookie. Raises OriginRefused."""
    origin = request.headers.get("Origin", "")
    schemes = ("https", "http") if settings.DEVELOPMENT else ("https",)
    own = {f"{scheme}://{request.get_host()}" for scheme in schemes}
    if (request.content_type or "").split(";")[0] != "application/json" or not request.headers.get("X-Requested-With"):
        raise OriginRefused
    if origin not in settings.CORS_ALLOWED_ORIGINS and origin not in own:
        raise OriginRefused


class ConfigViewSet(ApiViewSet):
    permission_classes = (AllowAny,)
    serializer_class = ConfigSerializer

    @extend_schema(operation_id="config", responses=ConfigSerializer, auth=[])
    def retrieve(self, request: Request) -> Response:
        """What a front end needs to know before anybody signs in."""
        facts = {
            "version": settings.VERSION,
            "email_verification": "optional",
            "sign_in_providers": ["password"],
            "sites_domain": settings.SITES_DOMAIN,
            "password": {"min_length": MIN_LENGTH, "max_bytes": MAX_BYTES},
            "limits": {
                "requests_per_minute": settings.RATE_LIMIT,
                "body_bytes": DEFAULT_LIMIT,
                "blueprint_bytes": 10 * 1024 * 1024,
            },
        }
        return Response(facts, headers={"Cache-Control": "public, max-age=60"})


class SignInViewSet(ApiViewSet):
    permission_classes = (AllowAny,)
    serializer_class = LoginSerializer

    def reads_body(self) -> bool:
        return self.action not in {"refresh", "logout"}

    @extend_schema(operation_id="register", request=RegisterSerializer, responses={201: SignedInSerializer}, auth=[])
    def register(self, request: Request) -> Response:
        """Make an account and sign in. 409 `email_taken` when the address has one."""
        user = services.register_user(**self.validated(RegisterSerializer))
        return self._signed_in(user, status=201)

    @extend_schema(
        operation_id="login",
        request=LoginSerializer,
        responses={200: SignedInSerializer, 401: OpenApiResponse(description="Refused")},
        auth=[],
    )
    def login(self, request: Request) -> Response:
        """Sign in by e-mail address and password; the refresh token comes as a cookie."""
        return self._signed_in(services.check_credentials(**self.validated(LoginSerializer)), status=200)

    @extend_schema(operation_id="refresh", request=None, responses=AccessSerializer, auth=[])
    def refresh(self, request: Request) -> Response:
        """Exchange the refresh cookie for a new one and a new access token."""
        check_origin(request)
        session, token = services.rotate_session(request.COOKIES.get(COOKIE, ""), now=timezone.now())
        access, expires_in = mint_access(session.user, session)
        return set_refresh(Response({"access": access, "expires_in": expires_in}, headers=NO_STORE), session, token)

    @extend_schema(operation_id="logout", request=None, responses={204: None}, auth=[])
    def logout(self, request: Request) -> Response:
        """End the session of the refresh cookie and its access tokens."""
        check_origin(request)
        services.close_session(request.COOKIES.get(COOKIE, ""), now=timezone.now())
        return clear_refresh(Response(status=204, headers=NO_STORE))

    def _signed_in(self, user: User, *, status: int) -> Response:
        session = services.open_session(user, device=device_of(self.request), now=timezone.now())
        prefetch_related_objects([user], "roles")  # for the token and for the answer
        access, expires_in = mint_access(user, session)
        body = {"user": UserSerializer(user).data, "access": access, "expires_in": expires_in}
        return set_refresh(
            Response(body, status=status, headers=NO_STORE), session, refresh_token(session.pk, session.generation)
        )

    def handle_exception(self, exc: Exception) -> Any:
        response = super().handle_exception(exc)
        return clear_refresh(response) if isinstance(exc, RefreshRefused) else response


class MeViewSet(ApiViewSet):
    permission_classes = (IsAuthenticated,)
    serializer_class = UserSerializer
    conditional = ("partial_update", "destroy")

    @extend_schema(operation_id="me")
    def retrieve(self, request: Request) -> Response:
        """The signed-in user."""
        user = self.caller.row()
        return versioned(UserSerializer(user).data, user.version)

    @extend_schema(operation_id="change_me", request=ProfileSerializer, responses=UserSerializer)
    def partial_update(self, request: Request) -> Response:
        """Change name or age."""
        changes = self.validated(ProfileSerializer, partial=True)
        user = services.change_user(self.caller.pk, changes, actor=actors.user(self.caller), if_match=if_match(request))
        return versioned(UserSerializer(user).data, user.version)

    @extend_schema(operation_id="delete_me", responses={204: None})
    def destroy(self, request: Request) -> Response:
        """Close the account: everything of it is hidden at once and deleted after 30 days."""
        services.delete_user(
            self.caller.pk, actor=actors.user(self.caller), now=timezone.now(), if_match=if_match(request)
        )
        return clear_refresh(Response(status=204, headers=NO_STORE))

    @extend_schema(operation_id="logout_all", request=None, responses={204: None})
    def logout_all(self, request: Request) -> Response:
        """End every session of this account, this one too."""
        services.close_all_sessions(self.caller.pk, actor=actors.user(self.caller), now=timezone.now())
        return clear_refresh(Response(status=204, headers=NO_STORE))

    def get_serializer_class(self) -> Any:
        if self.action == "logout_all":
            raise AssertionError  # no body
        return super().get_serializer_class()
