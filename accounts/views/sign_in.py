"""Views for callers who are not signed in: sign-up, sign-in, refresh, mailed links, configuration."""

from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError as DjangoValidationError
from django.utils import timezone
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.credentials import challenges, zero_knowledge
from accounts.credentials.password_validators import MAX_PASSWORD_BYTES, MIN_PASSWORD_CHARACTERS
from accounts.credentials.tokens import make_access_token
from accounts.errors import OriginRefused, RefreshRefused
from accounts.responses import (
    NO_STORE,
    REFRESH_COOKIE,
    clear_refresh_cookie,
    device_of,
    set_refresh_cookie,
    signed_in_response,
)
from accounts.serializers.accounts import AccessSerializer, DetailSerializer, SignedInSerializer
from accounts.serializers.config import ConfigSerializer
from accounts.serializers.credentials import (
    EmailSerializer,
    LoginSerializer,
    MfaVerifySerializer,
    ParametersSerializer,
    PasswordResetSerializer,
    PreloginSerializer,
    RegisterSerializer,
    TokenSerializer,
    weak_password_error,
)
from accounts.serializers.mfa import PasskeyOptionsSerializer, PasskeySignInSerializer
from accounts.services import email_links, impersonation, sessions, sign_in, users
from core.http.action_policy import ANONYMOUS, action_policy
from core.http.json_parser import MAX_BODY_BYTES
from core.http.viewsets import ApiViewSet

MAIL_ACCEPTED_TEXT = "If this address can be used, a mail is on its way."
MAX_BLUEPRINT_BYTES = 10 * 1024 * 1024


def check_origin(request: Request) -> None:
    """Allow requests by cookie only from our own pages and CORS_ORIGINS. Raises OriginRefused."""
    origin = request.headers.get("Origin", "")
    schemes = ("https", "http") if settings.DEVELOPMENT else ("https",)
    own_origins = {f"{scheme}://{request.get_host()}" for scheme in schemes}
    content_type = (request.content_type or "").split(";")[0]
    if content_type != "application/json" or not request.headers.get("X-Requested-With"):
        raise OriginRefused
    if origin not in settings.CORS_ALLOWED_ORIGINS and origin not in own_origins:
        raise OriginRefused


def mail_accepted_response() -> Response:
    """Return the response to a request for a mail, which is the same for every address."""
    return Response({"detail": MAIL_ACCEPTED_TEXT}, status=202, headers=NO_STORE)


class ConfigViewSet(ApiViewSet):
    serializer_class = ConfigSerializer

    @action_policy(scope=None, role=ANONYMOUS, recent_proof=False, if_match=False, impersonation=True)
    @extend_schema(operation_id="config", responses=ConfigSerializer, auth=[])
    def retrieve(self, request: Request) -> Response:
        """Get what a front end needs before a user signs in."""
        values = {
            "version": settings.VERSION,
            "email_verification": "required" if settings.EMAIL_VERIFICATION_REQUIRED else "optional",
            "sign_in_providers": ["password", "passkey", *settings.OIDC_PROVIDERS],
            "oidc_providers": [
                {"id": name, "label": item.label} for name, item in settings.OIDC_PROVIDERS.items()
            ],
            "sites_domain": settings.SITES_DOMAIN,
            "password": {"min_length": MIN_PASSWORD_CHARACTERS, "max_bytes": MAX_PASSWORD_BYTES},
            "limits": {
                "requests_per_minute": settings.RATE_LIMIT,
                "body_bytes": MAX_BODY_BYTES,
                "blueprint_bytes": MAX_BLUEPRINT_BYTES,
            },
        }
        return Response(values, headers={"Cache-Control": "public, max-age=60"})


class SignInViewSet(ApiViewSet):
    serializer_class = LoginSerializer

    @action_policy(scope=None, role=ANONYMOUS, recent_proof=False, if_match=False, impersonation=True)
    @extend_schema(
        operation_id="register",
        request=RegisterSerializer,
        responses={201: SignedInSerializer, 202: DetailSerializer},
        auth=[],
    )
    def register(self, request: Request) -> Response:
        """Create an account.

        When verification is optional the user is signed in (201), or the response is 409 `email_taken`. When
        it is required the response is 202 for every address, and the account is created when the mailed link
        is opened. `GET /config` tells which applies.
        """
        values = self.validated(RegisterSerializer)
        now = timezone.now()
        if settings.EMAIL_VERIFICATION_REQUIRED:
            email_links.request_sign_up(**values, now=now)
            return mail_accepted_response()
        user = users.register_user(**values)
        email_links.request_verification(user, now=now)
        return signed_in_response(
            request, sessions.open_session(user, device=device_of(request), now=now), status=201
        )

    @action_policy(scope=None, role=ANONYMOUS, recent_proof=False, if_match=False, impersonation=True)
    @extend_schema(
        operation_id="prelogin", request=PreloginSerializer, responses=ParametersSerializer, auth=[]
    )
    def prelogin(self, request: Request) -> Response:
        """Get how an address signs in.

        With scheme `password` send the password. With scheme `blind` send an `auth_hash` derived with this
        `kdf` and `salt`. An address without an account gets such an answer too, always the same.
        """
        parameters = zero_knowledge.login_parameters(self.validated(PreloginSerializer)["email"])
        body = {
            "scheme": parameters.scheme,
            "kdf": {"algorithm": parameters.kdf.ALGORITHM, "iterations": parameters.kdf.iterations},
            "salt": parameters.kdf.salt,
        }
        return Response(ParametersSerializer(body).data, headers=NO_STORE)

    @action_policy(scope=None, role=ANONYMOUS, recent_proof=False, if_match=False, impersonation=True)
    @extend_schema(
        operation_id="login",
        request=LoginSerializer,
        responses={200: SignedInSerializer, 401: OpenApiResponse(description="Refused")},
        auth=[],
    )
    def login(self, request: Request) -> Response:
        """Sign in by e-mail address and password (or `auth_hash`, see `prelogin`).

        Sets the refresh cookie. 401 `mfa_required` contains a `challenge` for `/auth/mfa/verify`.
        """
        device = device_of(request)
        user = sign_in.check_credentials(**self.validated(LoginSerializer), device=device)
        session = sign_in.open_session_after_first_factor(
            user, method="password", device=device, now=timezone.now()
        )
        return signed_in_response(request, session)

    @action_policy(scope=None, role=ANONYMOUS, recent_proof=False, if_match=False, impersonation=True)
    @extend_schema(
        operation_id="verify_mfa", request=MfaVerifySerializer, responses=SignedInSerializer, auth=[]
    )
    def verify_mfa(self, request: Request) -> Response:
        """Finish a sign-in with a second factor: `code`, `recovery_code` or `credential`."""
        factor = self.validated(MfaVerifySerializer)
        challenge = factor.pop("challenge")
        session = sign_in.open_session_after_second_factor(
            challenge, factor, device=device_of(request), now=timezone.now()
        )
        return signed_in_response(request, session)

    @action_policy(
        scope=None, role=ANONYMOUS, recent_proof=False, if_match=False, impersonation=True, body="none"
    )
    @extend_schema(
        operation_id="passkey_sign_in_options", request=None, responses=PasskeyOptionsSerializer, auth=[]
    )
    def passkey_options(self, request: Request) -> Response:
        """Get a challenge for signing in with a passkey alone."""
        return passkey_options_response(*sign_in.begin_passkey_sign_in(now=timezone.now()))

    @action_policy(scope=None, role=ANONYMOUS, recent_proof=False, if_match=False, impersonation=True)
    @extend_schema(
        operation_id="passkey_sign_in", request=PasskeySignInSerializer, responses=SignedInSerializer, auth=[]
    )
    def passkey_sign_in(self, request: Request) -> Response:
        """Sign in with a passkey, without address and password."""
        values = self.validated(PasskeySignInSerializer)
        session = sign_in.sign_in_by_passkey(**values, device=device_of(request), now=timezone.now())
        return signed_in_response(request, session)

    @action_policy(scope=None, role=ANONYMOUS, recent_proof=False, if_match=False, impersonation=True)
    @extend_schema(operation_id="impersonate", request=TokenSerializer, responses=SignedInSerializer, auth=[])
    def impersonate(self, request: Request) -> Response:
        """Open an impersonation that staff started in the admin. It lasts half an hour."""
        token = self.validated(TokenSerializer)["token"]
        session = impersonation.redeem_impersonation_link(
            token, device=device_of(request), now=timezone.now()
        )
        return signed_in_response(request, session)

    @action_policy(
        scope=None, role=ANONYMOUS, recent_proof=False, if_match=False, impersonation=True, body="none"
    )
    @extend_schema(operation_id="refresh", request=None, responses=AccessSerializer, auth=[])
    def refresh(self, request: Request) -> Response:
        """Exchange the refresh cookie for a new one and a new access token."""
        check_origin(request)
        session, token = sessions.rotate_session(request.COOKIES.get(REFRESH_COOKIE, ""), now=timezone.now())
        access, expires_in = make_access_token(session.user, session)
        response = Response({"access": access, "expires_in": expires_in}, headers=NO_STORE)
        return set_refresh_cookie(response, session, token)

    @action_policy(
        scope=None, role=ANONYMOUS, recent_proof=False, if_match=False, impersonation=True, body="none"
    )
    @extend_schema(operation_id="logout", request=None, responses={204: None}, auth=[])
    def logout(self, request: Request) -> Response:
        """End the session of the refresh cookie and its access tokens."""
        check_origin(request)
        sessions.close_session(request.COOKIES.get(REFRESH_COOKIE, ""), now=timezone.now())
        return clear_refresh_cookie(Response(status=204, headers=NO_STORE))

    def handle_exception(self, exc: Exception) -> Any:
        """Delete the refresh cookie when its token was refused."""
        response = super().handle_exception(exc)
        return clear_refresh_cookie(response) if isinstance(exc, RefreshRefused) else response


class MailboxViewSet(ApiViewSet):
    """Requests for mailed links, which get 202 for every address, and the use of these links."""

    serializer_class = EmailSerializer

    @action_policy(scope=None, role=ANONYMOUS, recent_proof=False, if_match=False, impersonation=True)
    @extend_schema(
        operation_id="verify_email",
        request=TokenSerializer,
        responses={200: SignedInSerializer, 204: None},
        auth=[],
    )
    def verify(self, request: Request) -> Response:
        """Use the token of a mailed link.

        A sign-up creates the account and signs in (200). Other links verify the address of an existing
        account (204).
        """
        now = timezone.now()
        user = email_links.confirm_email(self.validated(TokenSerializer)["token"], now=now)
        if user is None:
            return Response(status=204, headers=NO_STORE)
        return signed_in_response(
            request, sessions.open_session(user, device=device_of(request), now=now, method="mailed link")
        )

    @action_policy(scope=None, role=ANONYMOUS, recent_proof=False, if_match=False, impersonation=True)
    @extend_schema(
        operation_id="resend_email", request=EmailSerializer, responses={202: DetailSerializer}, auth=[]
    )
    def resend(self, request: Request) -> Response:
        """Mail the link that verifies an address again."""
        email_links.request_verification_resend(self.validated(EmailSerializer)["email"], now=timezone.now())
        return mail_accepted_response()

    @action_policy(scope=None, role=ANONYMOUS, recent_proof=False, if_match=False, impersonation=True)
    @extend_schema(
        operation_id="forgot_password", request=EmailSerializer, responses={202: DetailSerializer}, auth=[]
    )
    def forgot(self, request: Request) -> Response:
        """Mail a link to choose a new password. It is valid once, for 30 minutes."""
        email_links.request_password_reset(self.validated(EmailSerializer)["email"], now=timezone.now())
        return mail_accepted_response()

    @action_policy(scope=None, role=ANONYMOUS, recent_proof=False, if_match=False, impersonation=True)
    @extend_schema(
        operation_id="reset_password", request=PasswordResetSerializer, responses={204: None}, auth=[]
    )
    def reset(self, request: Request) -> Response:
        """Set a new password by a mailed link. All sessions end; second factors stay."""
        try:
            email_links.reset_password(**self.validated(PasswordResetSerializer), now=timezone.now())
        except DjangoValidationError as error:
            raise weak_password_error(error) from None
        return clear_refresh_cookie(Response(status=204, headers=NO_STORE))

    @action_policy(scope=None, role=ANONYMOUS, recent_proof=False, if_match=False, impersonation=True)
    @extend_schema(operation_id="restore_account", request=TokenSerializer, responses={204: None}, auth=[])
    def restore(self, request: Request) -> Response:
        """Restore your closed account with all its data by a mailed link. Sign in afterwards."""
        email_links.restore_account(self.validated(TokenSerializer)["token"], now=timezone.now())
        return Response(status=204, headers=NO_STORE)


def passkey_options_response(challenge: str, public_key: dict[str, Any]) -> Response:
    """Return the response with a challenge token and WebAuthn options."""
    seconds = int(challenges.CHALLENGE_LIFETIME.total_seconds())
    body = {"challenge": challenge, "public_key": public_key, "expires_in": seconds}
    return Response(body, headers=NO_STORE)
