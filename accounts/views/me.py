"""Views of the caller's own account: profile, address, password, sessions."""

from typing import Any

from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.models import Session, User
from accounts.permissions import ACCOUNT_READ
from accounts.responses import NO_STORE, clear_refresh_cookie, device_of, signed_in_response
from accounts.serializers.accounts import (
    DetailSerializer,
    MeSerializer,
    SessionSerializer,
    SignedInSerializer,
    UsageSerializer,
    UserSerializer,
)
from accounts.serializers.credentials import (
    EmailSerializer,
    PasswordChangeSerializer,
    ProfileSerializer,
    ProofSerializer,
    validate_new_password,
)
from accounts.serializers.mfa import PasskeyOptionsSerializer
from accounts.services import email_links, sessions, sign_in, users
from accounts.views.sign_in import mail_accepted_response, passkey_options_response
from audit import actors
from core import quotas
from core.http.action_policy import SIGNED_IN, action_policy
from core.http.pagination import KeysetPagination
from core.http.preconditions import if_match
from core.http.responses import versioned
from core.http.viewsets import ApiViewSet


class MeViewSet(ApiViewSet):
    serializer_class = UserSerializer

    @action_policy(
        scope=ACCOUNT_READ,
        role=SIGNED_IN,
        recent_proof=False,
        if_match=False,
        impersonation=True,
        cache="user",
    )
    @extend_schema(operation_id="me", responses=MeSerializer)
    def retrieve(self, request: Request) -> Response:
        """Get the signed-in user."""
        user = self.caller.row()
        user.impersonator = self.caller.impersonator
        return versioned(MeSerializer(user).data, user.version)

    @action_policy(scope=ACCOUNT_READ, role=SIGNED_IN, recent_proof=False, if_match=False, impersonation=True)
    @extend_schema(operation_id="my_usage", responses=UsageSerializer)
    def usage(self, request: Request) -> Response:
        """Get how many bytes you store and how many you may store.

        The sites that you own count for you, whoever writes in them.
        """
        return Response(UsageSerializer(quotas.usage_of(self.caller.pk)).data)

    @action_policy(scope=None, role=SIGNED_IN, recent_proof=False, if_match=True, impersonation=False)
    @extend_schema(operation_id="change_me", request=ProfileSerializer, responses=UserSerializer)
    def partial_update(self, request: Request) -> Response:
        """Change your name or age."""
        changes = self.validated(ProfileSerializer, partial=True)
        user = users.change_user(
            self.caller.pk, changes, actor=actors.user(self.caller), if_match=if_match(request)
        )
        return versioned(UserSerializer(user).data, user.version)

    @action_policy(scope=None, role=SIGNED_IN, recent_proof=True, if_match=True, impersonation=False)
    @extend_schema(operation_id="delete_me", responses={204: None})
    def destroy(self, request: Request) -> Response:
        """Close your account. It is hidden with all its data at once and erased after 30 days.

        Until then a mailed link restores it.
        """
        email_links.close_account(self.caller.pk, now=timezone.now(), if_match=if_match(request))
        return clear_refresh_cookie(Response(status=204, headers=NO_STORE))

    @action_policy(
        scope=None, role=SIGNED_IN, recent_proof=False, if_match=False, impersonation=False, body="none"
    )
    @extend_schema(operation_id="logout_all", request=None, responses={204: None})
    def logout_all(self, request: Request) -> Response:
        """End all your sessions, including this one."""
        sessions.close_all_sessions(self.caller.pk, actor=actors.user(self.caller), now=timezone.now())
        return clear_refresh_cookie(Response(status=204, headers=NO_STORE))

    @action_policy(scope=None, role=SIGNED_IN, recent_proof=True, if_match=False, impersonation=False)
    @extend_schema(operation_id="change_email", request=EmailSerializer, responses={202: DetailSerializer})
    def change_email(self, request: Request) -> Response:
        """Request a change of your e-mail address.

        It changes when the link mailed to the new address is opened. The old address gets a notice.
        """
        email_links.request_email_change(
            self.caller.row(), self.validated(EmailSerializer)["email"], now=timezone.now()
        )
        return mail_accepted_response()

    @action_policy(scope=None, role=SIGNED_IN, recent_proof=False, if_match=False, impersonation=False)
    @extend_schema(
        operation_id="change_password", request=PasswordChangeSerializer, responses=SignedInSerializer
    )
    def change_password(self, request: Request) -> Response:
        """Replace your password. All sessions end, and this device gets a new one."""
        values = self.validated(PasswordChangeSerializer)
        device = device_of(request)
        now = timezone.now()
        user: User = self.caller.row()
        sign_in.check_credentials(user.email, values["secret"], scheme=values["scheme"], device=device)
        if values["kdf"] is None:
            validate_new_password(values["password"], user)
        users.set_password(user.pk, values["password"], kdf=values["kdf"], actor=actors.user(user), now=now)
        user.refresh_from_db()
        session = sessions.open_session(user, device=device, now=now, method="password change", quietly=True)
        return signed_in_response(request, session)

    @action_policy(scope=None, role=SIGNED_IN, recent_proof=False, if_match=False, impersonation=False)
    @extend_schema(operation_id="reauthenticate", request=ProofSerializer, responses={204: None})
    def reauthenticate(self, request: Request) -> Response:
        """Authenticate again by password or second factor. Allows sensitive actions for five minutes."""
        session = Session.objects.select_related("user").get(pk=self.session_id)
        sign_in.reauthenticate(
            session, self.validated(ProofSerializer), device=device_of(request), now=timezone.now()
        )
        return Response(status=204, headers=NO_STORE)

    @action_policy(
        scope=None, role=SIGNED_IN, recent_proof=False, if_match=False, impersonation=False, body="none"
    )
    @extend_schema(operation_id="reauthentication_options", request=None, responses=PasskeyOptionsSerializer)
    def passkey_options(self, request: Request) -> Response:
        """Get a challenge for authenticating again by passkey."""
        return passkey_options_response(
            *sign_in.begin_passkey_reauthentication(self.caller.row(), now=timezone.now())
        )

    @property
    def session_id(self) -> Any:
        """Id of the session that sent the request."""
        return self.request.auth.session_id  # type: ignore[union-attr]


class SessionViewSet(ApiViewSet):
    serializer_class = SessionSerializer
    pagination_class = KeysetPagination

    def get_queryset(self) -> Any:
        return Session.objects.live(now=timezone.now()).filter(user_id=self.caller.pk)

    @action_policy(scope=None, role=SIGNED_IN, recent_proof=False, if_match=False, impersonation=True)
    @extend_schema(operation_id="list_sessions", responses=SessionSerializer(many=True))
    def list(self, request: Request) -> Response:
        """List the devices where you are signed in, newest first."""
        page = self.paginate_queryset(self.get_queryset()) or []
        context = {"current": request.auth.session_id}  # type: ignore[union-attr]
        return self.get_paginated_response(SessionSerializer(page, many=True, context=context).data)

    @action_policy(scope=None, role=SIGNED_IN, recent_proof=False, if_match=False, impersonation=False)
    @extend_schema(operation_id="end_session", responses={204: None})
    def destroy(self, request: Request, pk: Any) -> Response:
        """End the session of one device, from its next request on."""
        session = self.get_object()
        sessions.end_sessions(
            self.caller.pk, [session.pk], actor=actors.user(self.caller), now=timezone.now()
        )
        return Response(status=204)
