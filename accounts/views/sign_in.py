"""Sign-up, sign-in, and the ways back in. Nobody needs to be signed in here."""

from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError as DjangoValidationError
from django.utils import timezone
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.credentials import challenges, zero_knowledge
from accounts.credentials.password_validators import MAX_BYTES, MIN_LENGTH
from accounts.credentials.tokens import mint_access
from accounts.errors import OriginRefused, RefreshRefused
from accounts.responses import COOKIE, NO_STORE, clear_refresh, device_of, set_refresh, signed_in
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
    weak,
)
from accounts.serializers.mfa import PasskeyOptionsSerializer, PasskeySignInSerializer
from accounts.services import email_links, impersonation, sessions, sign_in, users
from core.http.action_policy import ANONYMOUS, action_policy
from core.http.json_parser import MAX_BODY_BYTES
from core.http.viewsets import ApiViewSet

MAILED = "If this address can be used, a mail is on its way."


def check_origin(request: Request) -> None:
    """Only our own page or a named front end may use the cookie. Raises OriginRefused."""
    origin = request.headers.get("Origin", "")
    schemes = ("https", "http") if settings.DEVELOPMENT else ("https",)
    own = {f"{scheme}://{request.get_host()}" for scheme in schemes}
    if (request.content_type or "").split(";")[0] != "application/json" or not request.headers.get(
        "X-Requested-With"
    ):
        raise OriginRefused
    if origin not in settings.CORS_ALLOWED_ORIGINS and origin not in own:
        raise OriginRefused


def mailed() -> Response:
    """The same answer for every address."""
    return Response({"detail": MAILED}, status=202, headers=NO_STORE)


class ConfigViewSet(ApiViewSet):
    serializer_class = ConfigSerializer

    @action_policy(scope=None, role=ANONYMOUS, recent_proof=False, if_match=False, impersonation=True)
    @extend_schema(operation_id="config", responses=ConfigSerializer, auth=[])
    def retrieve(self, request: Request) -> Response:
        """What a front end needs to know before anybody signs in."""
        facts = {
            "version": settings.VERSION,
            "email_verification": "required" if settings.EMAIL_VERIFICATION_REQUIRED else "optional",
            "sign_in_providers": ["password", "passkey", *settings.OIDC_PROVIDERS],
            "oidc_providers": [
                {"id": name, "label": item.label} for name, item in settings.OIDC_PROVIDERS.items()
            ],
            "sites_domain": settings.SITES_DOMAIN,
            "password": {"min_length": MIN_LENGTH, "max_bytes": MAX_BYTES},
            "limits": {
                "requests_per_minute": settings.RATE_LIMIT,
                "body_bytes": MAX_BODY_BYTES,
                "blueprint_bytes": 10 * 1024 * 1024,
            },
        }
        return Response(facts, headers={"Cache-Control": "public, max-age=60"})


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
        """Make an account.

        With optional verification it is signed in (201), and 409 `email_taken` when the address has one. With
        required verification the answer is 202 for every address, and the account exists once the mailed link
        was opened. `GET /config` says which.
        """
        wanted = self.validated(RegisterSerializer)
        now = timezone.now()
        if settings.EMAIL_VERIFICATION_REQUIRED:
            email_links.request_sign_up(**wanted, now=now)
            return mailed()
        user = users.register_user(**wanted)
        email_links.request_verification(user, now=now)
        return signed_in(request, sessions.open_session(user, device=device_of(request), now=now), status=201)

    @action_policy(scope=None, role=ANONYMOUS, recent_proof=False, if_match=False, impersonation=True)
    @extend_schema(
        operation_id="prelogin", request=PreloginSerializer, responses=ParametersSerializer, auth=[]
    )
    def prelogin(self, request: Request) -> Response:
        """How an address signs in: send its `password`, or as `blind` an `auth_hash` made with this `kdf` and
        `salt`. Addresses without an account get an answer like any other, the same each time.
        """
        found = zero_knowledge.prelogin(self.validated(PreloginSerializer)["email"])
        kdf = {"algorithm": found.kdf.ALGORITHM, "iterations": found.kdf.iterations}
        facts = {"scheme": found.scheme, "kdf": kdf, "salt": found.kdf.salt}
        return Response(ParametersSerializer(facts).data, headers=NO_STORE)

    @action_policy(scope=None, role=ANONYMOUS, recent_proof=False, if_match=False, impersonation=True)
    @extend_schema(
        operation_id="login",
        request=LoginSerializer,
        responses={200: SignedInSerializer, 401: OpenApiResponse(description="Refused")},
        auth=[],
    )
    def login(self, request: Request) -> Response:
        """Sign in by e-mail address and password (or `auth_hash`, see `prelogin`); the refresh token comes as
        a cookie. 401 `mfa_required` carries a `challenge` for `/auth/mfa/verify`.
        """
        device = device_of(request)
        user = sign_in.check_credentials(**self.validated(LoginSerializer), device=device)
        session = sign_in.finish_first_step(user, method="password", device=device, now=timezone.now())
        return signed_in(request, session)

    @action_policy(scope=None, role=ANONYMOUS, recent_proof=False, if_match=False, impersonation=True)
    @extend_schema(
        operation_id="verify_mfa", request=MfaVerifySerializer, responses=SignedInSerializer, auth=[]
    )
    def verify_mfa(self, request: Request) -> Response:
        """Finish a sign-in with a second factor: `code`, `recovery_code` or `credential`."""
        answer = self.validated(MfaVerifySerializer)
        challenge = answer.pop("challenge")
        session = sign_in.finish_mfa(challenge, answer, device=device_of(request), now=timezone.now())
        return signed_in(request, session)

    @action_policy(
        scope=None, role=ANONYMOUS, recent_proof=False, if_match=False, impersonation=True, body="none"
    )
    @extend_schema(
        operation_id="passkey_sign_in_options", request=None, responses=PasskeyOptionsSerializer, auth=[]
    )
    def passkey_options(self, request: Request) -> Response:
        """A challenge for signing in with a passkey alone."""
        return options(*sign_in.begin_passkey_sign_in(now=timezone.now()))

    @action_policy(scope=None, role=ANONYMOUS, recent_proof=False, if_match=False, impersonation=True)
    @extend_schema(
        operation_id="passkey_sign_in", request=PasskeySignInSerializer, responses=SignedInSerializer, auth=[]
    )
    def passkey_sign_in(self, request: Request) -> Response:
        """Sign in with a passkey, without address and password."""
        given = self.validated(PasskeySignInSerializer)
        session = sign_in.sign_in_by_passkey(**given, device=device_of(request), now=timezone.now())
        return signed_in(request, session)

    @action_policy(scope=None, role=ANONYMOUS, recent_proof=False, if_match=False, impersonation=True)
    @extend_schema(operation_id="impersonate", request=TokenSerializer, responses=SignedInSerializer, auth=[])
    def impersonate(self, request: Request) -> Response:
        """Open a session that staff have begun in the admin: half an hour as somebody else."""
        token = self.validated(TokenSerializer)["token"]
        return signed_in(
            request, impersonation.fetch_impersonation(token, device=device_of(request), now=timezone.now())
        )

    @action_policy(
        scope=None, role=ANONYMOUS, recent_proof=False, if_match=False, impersonation=True, body="none"
    )
    @extend_schema(operation_id="refresh", request=None, responses=AccessSerializer, auth=[])
    def refresh(self, request: Request) -> Response:
        """Exchange the refresh cookie for a new one and a new access token."""
        check_origin(request)
        session, token = sessions.rotate_session(request.COOKIES.get(COOKIE, ""), now=timezone.now())
        access, expires_in = mint_access(session.user, session)
        return set_refresh(
            Response({"access": access, "expires_in": expires_in}, headers=NO_STORE), session, token
        )

    @action_policy(
        scope=None, role=ANONYMOUS, recent_proof=False, if_match=False, impersonation=True, body="none"
    )
    @extend_schema(operation_id="logout", request=None, responses={204: None}, auth=[])
    def logout(self, request: Request) -> Response:
        """End the session of the refresh cookie and its access tokens."""
        check_origin(request)
        sessions.close_session(request.COOKIES.get(COOKIE, ""), now=timezone.now())
        return clear_refresh(Response(status=204, headers=NO_STORE))

    def handle_exception(self, exc: Exception) -> Any:
        response = super().handle_exception(exc)
        return clear_refresh(response) if isinstance(exc, RefreshRefused) else response


class MailboxViewSet(ApiViewSet):
    """Proofs by e-mail. Requests answer 202 whatever the address, and cost the same."""

    serializer_class = EmailSerializer

    @action_policy(scope=None, role=ANONYMOUS, recent_proof=False, if_match=False, impersonation=True)
    @extend_schema(
        operation_id="verify_email",
        request=TokenSerializer,
        responses={200: SignedInSerializer, 204: None},
        auth=[],
    )
    def verify(self, request: Request) -> Response:
        """Use the link of a mail.

        The one of a sign-up makes the account and signs in (200); the others confirm the address of an
        account that is there (204).
        """
        now = timezone.now()
        user = email_links.confirm_email(self.validated(TokenSerializer)["token"], now=now)
        if user is None:
            return Response(status=204, headers=NO_STORE)
        return signed_in(
            request, sessions.open_session(user, device=device_of(request), now=now, method="mailed link")
        )

    @action_policy(scope=None, role=ANONYMOUS, recent_proof=False, if_match=False, impersonation=True)
    @extend_schema(
        operation_id="resend_email", request=EmailSerializer, responses={202: DetailSerializer}, auth=[]
    )
    def resend(self, request: Request) -> Response:
        """Mail the link to confirm an address once more."""
        email_links.request_resend(self.validated(EmailSerializer)["email"], now=timezone.now())
        return mailed()

    @action_policy(scope=None, role=ANONYMOUS, recent_proof=False, if_match=False, impersonation=True)
    @extend_schema(
        operation_id="forgot_password", request=EmailSerializer, responses={202: DetailSerializer}, auth=[]
    )
    def forgot(self, request: Request) -> Response:
        """Mail a link to choose a new password. It is good for 30 minutes, once."""
        email_links.request_reset(self.validated(EmailSerializer)["email"], now=timezone.now())
        return mailed()

    @action_policy(scope=None, role=ANONYMOUS, recent_proof=False, if_match=False, impersonation=True)
    @extend_schema(
        operation_id="reset_password", request=PasswordResetSerializer, responses={204: None}, auth=[]
    )
    def reset(self, request: Request) -> Response:
        """Choose a new password by a mailed link. Every session ends; a second factor stays."""
        try:
            email_links.reset_password(**self.validated(PasswordResetSerializer), now=timezone.now())
        except DjangoValidationError as error:
            raise weak(error) from None
        return clear_refresh(Response(status=204, headers=NO_STORE))

    @action_policy(scope=None, role=ANONYMOUS, recent_proof=False, if_match=False, impersonation=True)
    @extend_schema(operation_id="restore_account", request=TokenSerializer, responses={204: None}, auth=[])
    def restore(self, request: Request) -> Response:
        """Open one's closed account again by the mailed link, with everything in it. Sign in afterwards."""
        email_links.restore_account(self.validated(TokenSerializer)["token"], now=timezone.now())
        return Response(status=204, headers=NO_STORE)


def options(challenge: str, public_key: dict[str, Any]) -> Response:
    """A WebAuthn challenge on its way to a browser."""
    seconds = int(challenges.LIFETIME.total_seconds())
    facts = {"challenge": challenge, "public_key": public_key, "expires_in": seconds}
    return Response(facts, headers=NO_STORE)
