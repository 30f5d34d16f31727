"""One's API keys."""

from typing import Any

from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.models import ApiKey, ApiKeyQuerySet
from accounts.responses import NO_STORE
from accounts.serializers.api_keys import ApiKeyCreateSerializer, ApiKeySerializer, IssuedApiKeySerializer
from accounts.services import api_keys
from audit import actors
from core.http.action_policy import SIGNED_IN, action_policy
from core.http.pagination import KeysetPagination
from core.http.viewsets import ApiViewSet


class ApiKeyViewSet(ApiViewSet):
    serializer_class = ApiKeySerializer
    pagination_class = KeysetPagination

    def get_queryset(self) -> ApiKeyQuerySet:
        return ApiKey.objects.live(now=timezone.now()).filter(owner_id=self.caller.pk)

    @action_policy(scope=None, role=SIGNED_IN, recent_proof=False, if_match=False, impersonation=True)
    @extend_schema(operation_id="list_api_keys", responses=ApiKeySerializer(many=True))
    def list(self, request: Request) -> Response:
        """Your keys that are good, newest first."""
        page = self.paginate_queryset(self.get_queryset())
        return self.get_paginated_response(ApiKeySerializer(page, many=True).data)

    @action_policy(scope=None, role=SIGNED_IN, recent_proof=True, if_match=False, impersonation=False)
    @extend_schema(
        operation_id="create_api_key", request=ApiKeyCreateSerializer, responses={201: IssuedApiKeySerializer}
    )
    def create(self, request: Request) -> Response:
        """Make a key that speaks for you within `scopes`. Its text is in this answer and nowhere else."""
        facts = self.validated(ApiKeyCreateSerializer)
        key, text = api_keys.issue_api_key(
            self.caller.pk, actor=actors.user(self.caller), now=timezone.now(), **facts
        )
        return Response({**ApiKeySerializer(key).data, "key": text}, status=201, headers=NO_STORE)

    @action_policy(scope=None, role=SIGNED_IN, recent_proof=False, if_match=False, impersonation=False)
    @extend_schema(operation_id="revoke_api_key", responses={204: None})
    def destroy(self, request: Request, pk: Any) -> Response:
        """End a key, from its next request on."""
        api_keys.revoke_api_key(self.get_object().pk, actor=actors.user(self.caller), now=timezone.now())
        return Response(status=204)
