"""One's own account: profile, address, password, sessions."""

from typing import Any

from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.models import Session, User
from accounts.permissions import ACCOUNT_READ
from accounts.responses import NO_STORE, clear_refresh, device_of, signed_in
from accounts.serializers.accounts import (
    DetailSerializer,
    MeSerializer,
    SessionSerializer,
    SignedInSerializer,
    UserSerializer,
)
from accounts.serializers.credentials import (
    EmailSerializer,
    PasswordChangeSerializer,
    ProfileSerializer,
    ProofSerializer,
    check_new_password,
)
from accounts.serializers.mfa import PasskeyOptionsSerializer
from accounts.services import email_links, sessions, sign_in, users
from accounts.views.sign_in import mailed, options
from audit import actors
from core.http.action_policy import SIGNED_IN, action_policy
from core.http.pagination import KeysetPagination
from core.http.preconditions import if_match
from core.http.responses import versioned
from core.http.viewsets import ApiViewSet


class MeViewSet(ApiViewSet):
    serializer_class = UserSerializer

    @action_policy(scope=ACCOUNT_READ, role=SIGNED_IN, recent_proof=False, if_match=False, impersonation=True)
    @extend_schema(operation_id="me", responses=MeSerializer)
    def retrieve(self, request: Request) -> Response:
        """The signed-in user."""
        user = self.caller.row()
        user.impersonator = self.caller.impersonator
        return versioned(MeSerializer(user).data, user.version)

    @action_policy(scope=None, role=SIGNED_IN, recent_proof=False, if_match=True, impersonation=False)
    @extend_schema(operation_id="change_me", request=ProfileSerializer, responses=UserSerializer)
    def partial_update(self, request: Request) -> Response:
        """Change name or age."""
        changes = self.validated(ProfileSerializer, partial=True)
        user = users.change_user(
            self.caller.pk, changes, actor=actors.user(self.caller), if_match=if_match(request)
        )
        return versioned(UserSerializer(user).data, user.version)

    @action_policy(scope=None, role=SIGNED_IN, recent_proof=True, if_match=True, impersonation=False)
    @extend_schema(operation_id="delete_me", responses={204: None})
    def destroy(self, request: Request) -> Response:
        """Close the account: everything of it is hidden at once and erased after 30 days.

        Until then a mailed link opens it again.
        """
        email_links.close_account(self.caller.pk, now=timezone.now(), if_match=if_match(request))
        return clear_refresh(Response(status=204, headers=NO_STORE))

    @action_policy(
        scope=None, role=SIGNED_IN, recent_proof=False, if_match=False, impersonation=False, body="none"
    )
    @extend_schema(operation_id="logout_all", request=None, responses={204: None})
    def logout_all(self, request: Request) -> Response:
        """End every session of this account, this one too."""
        sessions.close_all_sessions(self.caller.pk, actor=actors.user(self.caller), now=timezone.now())
        return clear_refresh(Response(status=204, headers=NO_STORE))

    @action_policy(scope=None, role=SIGNED_IN, recent_proof=True, if_match=False, impersonation=False)
    @extend_schema(operation_id="change_email", request=EmailSerializer, responses={202: DetailSerializer})
    def change_email(self, request: Request) -> Response:
        """Ask for another address.

        It is yours once you open the link mailed there; the old one gets a notice.
        """
        email_links.request_change(
            self.caller.row(), self.validated(EmailSerializer)["email"], now=timezone.now()
        )
        return mailed()

    @action_policy(scope=None, role=SIGNED_IN, recent_proof=False, if_match=False, impersonation=False)
    @extend_schema(
        operation_id="change_password", request=PasswordChangeSerializer, responses=SignedInSerializer
    )
    def change_password(self, request: Request) -> Response:
        """Replace the password. Every session ends, and this device gets a new one."""
        given = self.validated(PasswordChangeSerializer)
        device = device_of(request)
        now = timezone.now()
        user: User = self.caller.row()
        sign_in.check_credentials(user.email, given["secret"], scheme=given["scheme"], device=device)
        if given["kdf"] is None:
            check_new_password(given["password"], user)
        users.set_password(user.pk, given["password"], kdf=given["kdf"], actor=actors.user(user), now=now)
        user.refresh_from_db()
        session = sessions.open_session(user, device=device, now=now, method="password change", quietly=True)
        return signed_in(request, session)

    @action_policy(scope=None, role=SIGNED_IN, recent_proof=False, if_match=False, impersonation=False)
    @extend_schema(operation_id="reauthenticate", request=ProofSerializer, responses={204: None})
    def reauthenticate(self, request: Request) -> Response:
        """Prove again that it is you, by password or second factor; for five minutes sensitive acts are open."""
        session = Session.objects.select_related("user").get(pk=self.session_id)
        sign_in.prove_again(
            session, self.validated(ProofSerializer), device=device_of(request), now=timezone.now()
        )
        return Response(status=204, headers=NO_STORE)

    @action_policy(
        scope=None, role=SIGNED_IN, recent_proof=False, if_match=False, impersonation=False, body="none"
    )
    @extend_schema(operation_id="reauthentication_options", request=None, responses=PasskeyOptionsSerializer)
    def passkey_options(self, request: Request) -> Response:
        """A challenge for proving again by passkey."""
        return options(*sign_in.begin_passkey_proof(self.caller.row(), now=timezone.now()))

    @property
    def session_id(self) -> Any:
        return self.request.auth.session_id  # type: ignore[union-attr]


class SessionViewSet(ApiViewSet):
    serializer_class = SessionSerializer
    pagination_class = KeysetPagination

    def get_queryset(self) -> Any:
        return Session.objects.live(now=timezone.now()).filter(user_id=self.caller.pk)

    @action_policy(scope=None, role=SIGNED_IN, recent_proof=False, if_match=False, impersonation=True)
    @extend_schema(operation_id="list_sessions", responses=SessionSerializer(many=True))
    def list(self, request: Request) -> Response:
        """Where you are signed in, newest first."""
        page = self.paginate_queryset(self.get_queryset()) or []
        context = {"current": request.auth.session_id}  # type: ignore[union-attr]
        return self.get_paginated_response(SessionSerializer(page, many=True, context=context).data)

    @action_policy(scope=None, role=SIGNED_IN, recent_proof=False, if_match=False, impersonation=False)
    @extend_schema(operation_id="end_session", responses={204: None})
    def destroy(self, request: Request, pk: Any) -> Response:
        """Sign out one device, from its next request on."""
        session = self.get_object()
        sessions.end_sessions(
            self.caller.pk, [session.pk], actor=actors.user(self.caller), now=timezone.now()
        )
        return Response(status=204)
