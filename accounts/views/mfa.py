"""Views of the caller's second factors."""

from dataclasses import asdict
from typing import Any

from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.models import Passkey, User
from accounts.qr_codes import qr_svg
from accounts.responses import NO_STORE
from accounts.selectors import factors_of
from accounts.serializers.accounts import NameSerializer
from accounts.serializers.mfa import (
    AddedPasskeySerializer,
    CodeSerializer,
    FactorsSerializer,
    PasskeyCreateSerializer,
    PasskeyOptionsSerializer,
    PasskeySerializer,
    RecoveryCodesSerializer,
    TotpSerializer,
)
from accounts.services import mfa
from accounts.views.sign_in import passkey_options_response
from core.http.action_policy import SIGNED_IN, action_policy
from core.http.pagination import KeysetPagination
from core.http.viewsets import ApiViewSet


class FactorViewSet(ApiViewSet):
    serializer_class = FactorsSerializer

    @property
    def user(self) -> User:
        """The caller's row."""
        row: User = self.caller.row()
        return row

    @action_policy(scope=None, role=SIGNED_IN, recent_proof=False, if_match=False, impersonation=True)
    @extend_schema(operation_id="factors", responses=FactorsSerializer)
    def retrieve(self, request: Request) -> Response:
        """Get the number of your second factors of each kind."""
        return Response(asdict(factors_of(self.caller.pk)), headers=NO_STORE)

    @action_policy(
        scope=None, role=SIGNED_IN, recent_proof=True, if_match=False, impersonation=False, body="none"
    )
    @extend_schema(operation_id="begin_totp", request=None, responses={201: TotpSerializer})
    def begin_totp(self, request: Request) -> Response:
        """Create a secret for an authenticator app. It takes effect when it is confirmed with a code."""
        secret = mfa.begin_totp(self.user)
        uri = mfa.provisioning_uri(self.user, secret)
        return Response({"secret": secret, "uri": uri, "qr_svg": qr_svg(uri)}, status=201, headers=NO_STORE)

    @action_policy(scope=None, role=SIGNED_IN, recent_proof=True, if_match=False, impersonation=False)
    @extend_schema(operation_id="confirm_totp", request=CodeSerializer, responses=RecoveryCodesSerializer)
    def confirm_totp(self, request: Request) -> Response:
        """Confirm the authenticator app with a first code. The response contains recovery codes."""
        codes = mfa.confirm_totp(self.user, self.validated(CodeSerializer)["code"], now=timezone.now())
        return Response({"recovery_codes": codes}, headers=NO_STORE)

    @action_policy(scope=None, role=SIGNED_IN, recent_proof=True, if_match=False, impersonation=False)
    @extend_schema(operation_id="remove_totp", responses={204: None})
    def remove_totp(self, request: Request) -> Response:
        """Remove your authenticator app."""
        mfa.remove_totp(self.user)
        return Response(status=204)

    @action_policy(
        scope=None, role=SIGNED_IN, recent_proof=True, if_match=False, impersonation=False, body="none"
    )
    @extend_schema(operation_id="new_recovery_codes", request=None, responses={201: RecoveryCodesSerializer})
    def recovery_codes(self, request: Request) -> Response:
        """Create ten recovery codes. All earlier ones become invalid."""
        return Response({"recovery_codes": mfa.new_recovery_codes(self.user)}, status=201, headers=NO_STORE)


class PasskeyViewSet(ApiViewSet):
    serializer_class = PasskeySerializer
    pagination_class = KeysetPagination

    def get_queryset(self) -> Any:
        return Passkey.objects.filter(user_id=self.caller.pk).select_related("user")

    @action_policy(scope=None, role=SIGNED_IN, recent_proof=False, if_match=False, impersonation=True)
    @extend_schema(operation_id="list_passkeys", responses=PasskeySerializer(many=True))
    def list(self, request: Request) -> Response:
        """List your passkeys, newest first."""
        return self.get_paginated_response(
            PasskeySerializer(self.paginate_queryset(self.get_queryset()), many=True).data
        )

    @action_policy(
        scope=None, role=SIGNED_IN, recent_proof=True, if_match=False, impersonation=False, body="none"
    )
    @extend_schema(operation_id="passkey_options", request=None, responses=PasskeyOptionsSerializer)
    def begin(self, request: Request) -> Response:
        """Get a challenge for creating a passkey in this browser."""
        return passkey_options_response(*mfa.begin_passkey(self.caller.row(), now=timezone.now()))

    @action_policy(scope=None, role=SIGNED_IN, recent_proof=True, if_match=False, impersonation=False)
    @extend_schema(
        operation_id="create_passkey",
        request=PasskeyCreateSerializer,
        responses={201: AddedPasskeySerializer},
    )
    def create(self, request: Request) -> Response:
        """Add a passkey that the browser has created."""
        values = self.validated(PasskeyCreateSerializer)
        passkey, codes = mfa.add_passkey(self.caller.row(), **values, now=timezone.now())
        body = {**PasskeySerializer(passkey).data, "recovery_codes": codes}
        return Response(body, status=201, headers=NO_STORE)

    @action_policy(scope=None, role=SIGNED_IN, recent_proof=True, if_match=False, impersonation=False)
    @extend_schema(operation_id="rename_passkey", request=NameSerializer, responses=PasskeySerializer)
    def partial_update(self, request: Request, pk: Any) -> Response:
        """Rename a passkey."""
        passkey = mfa.rename_passkey(self.get_object(), self.validated(NameSerializer)["name"])
        return Response(PasskeySerializer(passkey).data)

    @action_policy(scope=None, role=SIGNED_IN, recent_proof=True, if_match=False, impersonation=False)
    @extend_schema(operation_id="remove_passkey", responses={204: None})
    def destroy(self, request: Request, pk: Any) -> Response:
        """Remove a passkey."""
        mfa.remove_passkey(self.get_object())
        return Response(status=204)
