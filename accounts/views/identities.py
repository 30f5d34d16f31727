"""Signing in by a provider (OpenID Connect), and the providers that one has connected."""

from typing import Any

from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.models import Identity
from accounts.responses import SIGN_IN_COOKIE, device_of, sent_away, signed_in
from accounts.serializers.accounts import (
    AuthorizationSerializer,
    IdentitySerializer,
    ReturnSerializer,
    SignedInSerializer,
)
from accounts.services import identities
from core.http.action_policy import ANONYMOUS, SIGNED_IN, action_policy
from core.http.pagination import KeysetPagination
from core.http.viewsets import ApiViewSet


class OidcViewSet(ApiViewSet):
    serializer_class = ReturnSerializer

    @action_policy(
        scope=None, role=ANONYMOUS, recent_proof=False, if_match=False, impersonation=True, body="none"
    )
    @extend_schema(
        operation_id="begin_provider_sign_in", request=None, responses=AuthorizationSerializer, auth=[]
    )
    def begin(self, request: Request, provider: str) -> Response:
        """Where to send the browser to sign in at a provider.

        It comes back to `FRONT_END_URL/oidc/{provider}` with `code` and `state`, within five minutes.
        """
        return sent_away(*identities.begin_oidc(provider, user=None, now=timezone.now()))

    @action_policy(scope=None, role=ANONYMOUS, recent_proof=False, if_match=False, impersonation=True)
    @extend_schema(
        operation_id="provider_sign_in", request=ReturnSerializer, responses=SignedInSerializer, auth=[]
    )
    def finish(self, request: Request, provider: str) -> Response:
        """Sign in with what the browser brought back.

        Who has no account gets one, if the provider has checked their address; an account with that address
        is opened only if we have checked it too, else 409 `connect_first`.
        """
        session = identities.sign_in_by_oidc(
            provider,
            **self.validated(ReturnSerializer),
            cookie=request.COOKIES.get(SIGN_IN_COOKIE, ""),
            device=device_of(request),
            now=timezone.now(),
        )
        return signed_in(request, session)


class IdentityViewSet(ApiViewSet):
    serializer_class = IdentitySerializer
    pagination_class = KeysetPagination

    def get_queryset(self) -> Any:
        return Identity.objects.filter(user_id=self.caller.pk).select_related("user")

    @action_policy(scope=None, role=SIGNED_IN, recent_proof=False, if_match=False, impersonation=True)
    @extend_schema(operation_id="list_identities", responses=IdentitySerializer(many=True))
    def list(self, request: Request) -> Response:
        """The accounts at providers that open yours, newest first."""
        page = self.paginate_queryset(self.get_queryset())
        return self.get_paginated_response(IdentitySerializer(page, many=True).data)

    @action_policy(
        scope=None, role=SIGNED_IN, recent_proof=True, if_match=False, impersonation=False, body="none"
    )
    @extend_schema(operation_id="begin_connecting", request=None, responses=AuthorizationSerializer)
    def begin(self, request: Request, provider: str) -> Response:
        """Where to send the browser to connect an account at a provider."""
        return sent_away(*identities.begin_oidc(provider, user=self.caller.row(), now=timezone.now()))

    @action_policy(scope=None, role=SIGNED_IN, recent_proof=True, if_match=False, impersonation=False)
    @extend_schema(
        operation_id="connect_provider", request=ReturnSerializer, responses={201: IdentitySerializer}
    )
    def create(self, request: Request, provider: str) -> Response:
        """Connect the account at a provider that the browser came back from."""
        made = identities.connect_identity(
            self.caller.row(),
            provider,
            **self.validated(ReturnSerializer),
            cookie=request.COOKIES.get(SIGN_IN_COOKIE, ""),
            now=timezone.now(),
        )
        return Response(IdentitySerializer(made).data, status=201)

    @action_policy(scope=None, role=SIGNED_IN, recent_proof=True, if_match=False, impersonation=False)
    @extend_schema(operation_id="disconnect_provider", responses={204: None})
    def destroy(self, request: Request, pk: Any) -> Response:
        """An account at a provider opens yours no more."""
        identities.disconnect_identity(self.get_object())
        return Response(status=204)
