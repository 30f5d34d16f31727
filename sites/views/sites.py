"""Sites over HTTP: each view scopes to the caller, then calls one service."""

from typing import Any

from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from core.http.action_policy import ANONYMOUS, SIGNED_IN, action_policy
from core.http.pagination import KeysetPagination
from core.http.preconditions import if_match
from core.http.responses import versioned
from core.http.viewsets import ApiViewSet
from sites.blueprint import schema
from sites.blueprint.site_templates import site_templates
from sites.models import Site, SiteQuerySet
from sites.permissions import SITES_READ, SITES_WRITE
from sites.serializers.sites import (
    SiteChangeSerializer,
    SiteCreateSerializer,
    SiteSerializer,
    SiteTemplateSerializer,
)
from sites.services import sites as sites_services
from sites.viewsets import Role, SiteScopedViewSet


class SiteViewSet(SiteScopedViewSet):
    serializer_class = SiteSerializer
    pagination_class = KeysetPagination

    def sites(self) -> SiteQuerySet:
        found: SiteQuerySet = (
            Site.objects.visible_to(self.caller)
            .select_related("live_release")
            .defer("live_release__blueprint")
        )
        return found if self.action == "restore" else found.alive()

    @action_policy(scope=SITES_READ, role=SIGNED_IN, recent_proof=False, if_match=False, impersonation=True)
    @extend_schema(operation_id="list_sites", responses=SiteSerializer(many=True))
    def list(self, request: Request) -> Response:
        """The sites that you have a role on, newest first."""
        page = self.paginate_queryset(self.sites())
        return self.get_paginated_response(SiteSerializer(page, many=True).data)

    @action_policy(scope=SITES_WRITE, role=SIGNED_IN, recent_proof=False, if_match=False, impersonation=True)
    @extend_schema(operation_id="create_site", request=SiteCreateSerializer, responses={201: SiteSerializer})
    def create(self, request: Request) -> Response:
        """Make a site, empty or from a site template."""
        site = sites_services.create_site(
            actor=self.actor, owner_id=self.caller.pk, **self.validated(SiteCreateSerializer)
        )
        site.role = Role.OWNER  # type: ignore[attr-defined]
        headers = {"Location": f"/api/v1/sites/{site.pk}"}
        return versioned(SiteSerializer(site).data, site.version, status=201, headers=headers)

    @action_policy(scope=SITES_READ, role=Role.VIEWER, recent_proof=False, if_match=False, impersonation=True)
    @extend_schema(operation_id="site", responses=SiteSerializer)
    def retrieve(self, request: Request, pk: Any) -> Response:
        """One site."""
        site = self.site()
        return versioned(SiteSerializer(site).data, site.version)

    @action_policy(scope=SITES_WRITE, role=Role.OWNER, recent_proof=False, if_match=True, impersonation=True)
    @extend_schema(
        operation_id="change_site", request=SiteChangeSerializer(partial=True), responses=SiteSerializer
    )
    def partial_update(self, request: Request, pk: Any) -> Response:
        """Change name or subdomain."""
        changes = self.validated(SiteChangeSerializer, partial=True)
        return self.shown(
            sites_services.change_site(self.site(), changes, actor=self.actor, if_match=if_match(request))
        )

    @action_policy(scope=SITES_WRITE, role=Role.OWNER, recent_proof=False, if_match=True, impersonation=False)
    @extend_schema(operation_id="delete_site", responses={204: None})
    def destroy(self, request: Request, pk: Any) -> Response:
        """Hide a site at once; for 30 days it can be restored."""
        sites_services.delete_site(
            self.site(), actor=self.actor, now=timezone.now(), if_match=if_match(request)
        )
        return Response(status=204)

    @action_policy(
        scope=SITES_WRITE,
        role=Role.OWNER,
        recent_proof=False,
        if_match=False,
        impersonation=True,
        body="none",
    )
    @extend_schema(operation_id="restore_site", request=None, responses=SiteSerializer)
    def restore(self, request: Request, pk: Any) -> Response:
        """Bring a deleted site back as it was."""
        return self.shown(sites_services.restore_site(self.site(), actor=self.actor))

    def shown(self, site: Any) -> Response:
        """What a service left, as its owner sees it."""
        site.role = Role.OWNER
        return versioned(SiteSerializer(site).data, site.version)


class CatalogueViewSet(ApiViewSet):
    """What is the same for everybody."""

    serializer_class = SiteTemplateSerializer

    @action_policy(scope=None, role=ANONYMOUS, recent_proof=False, if_match=False, impersonation=True)
    @extend_schema(
        operation_id="blueprint_schema",
        responses={200: {"type": "object", "additionalProperties": True}},
        auth=[],
    )
    def blueprint_schema(self, request: Request) -> Response:
        """JSON Schema (2020-12) of a blueprint."""
        return Response(schema.json_schema(), headers={"Cache-Control": "public, max-age=3600"})

    @action_policy(scope=None, role=ANONYMOUS, recent_proof=False, if_match=False, impersonation=True)
    @extend_schema(operation_id="list_site_templates", responses=SiteTemplateSerializer(many=True), auth=[])
    def templates(self, request: Request) -> Response:
        """Finished sites to start from."""
        listed = [
            {
                "key": item.key,
                "name": item.name,
                "description": item.description,
                "pages": len(item.blueprint["pages"]),
            }
            for item in site_templates().values()
        ]
        return Response(listed, headers={"Cache-Control": "public, max-age=3600"})
