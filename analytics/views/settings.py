"""HTTP API of the analytics settings of a site."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from analytics import selectors, services
from analytics.models import Settings
from analytics.permissions import ANALYTICS_READ
from analytics.serializers.reports import (
    SettingsSerializer,
)
from analytics.views.headers import PRIVATE_CACHE_HEADERS
from core.http.action_policy import action_policy
from sites.viewsets import Role, SiteScopedViewSet


class SettingsViewSet(SiteScopedViewSet):
    """The analytics settings of one site."""

    serializer_class = SettingsSerializer

    @action_policy(
        scope=ANALYTICS_READ, role=Role.VIEWER, recent_proof=False, if_match=False, impersonation=True
    )
    @extend_schema(operation_id="analytics_settings", responses=SettingsSerializer)
    def retrieve(self, request: Request, pk: Any) -> Response:
        """Read whether visits are counted, in which time zone, and for how long events are kept."""
        return Response(
            SettingsSerializer(selectors.get_settings(self.site())).data, headers=PRIVATE_CACHE_HEADERS
        )

    @action_policy(scope=None, role=Role.EDITOR, recent_proof=False, if_match=False, impersonation=True)
    @extend_schema(
        operation_id="change_analytics_settings", request=SettingsSerializer, responses=SettingsSerializer
    )
    def partial_update(self, request: Request, pk: Any) -> Response:
        """Change the settings. A new time zone applies from now on; earlier days keep their visitors."""
        site = self.site()
        changes = self.validated(SettingsSerializer, partial=True)
        row: Settings = services.change_settings(site, changes, actor=self.actor)
        return Response(SettingsSerializer(row).data, headers=PRIVATE_CACHE_HEADERS)
