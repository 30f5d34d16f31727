"""API views of sites, and of the blueprint schema and the site templates."""

import json
from typing import Any

from django.http import HttpResponse
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from core.http.action_policy import ANONYMOUS, SIGNED_IN, action_policy
from core.http.pagination import KeysetPagination
from core.http.preconditions import if_match
from core.http.rendered_documents import RenderedDocument
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
        """Return the sites that the caller has a role on, deleted ones too for the action `restore`."""
        sites: SiteQuerySet = (
            Site.objects.visible_to(self.caller)
            .select_related("live_release")
            .defer("live_release__blueprint")
        )
        return sites if self.action == "restore" else sites.alive()

    @action_policy(
        scope=SITES_READ,
        role=SIGNED_IN,
        recent_proof=False,
        if_match=False,
        impersonation=True,
        cache="sites",
    )
    @extend_schema(operation_id="list_sites", responses=SiteSerializer(many=True))
    def list(self, request: Request) -> Response:
        """List the sites that you have a role on, newest first."""
        page = self.paginate_queryset(self.sites())
        return self.get_paginated_response(SiteSerializer(page, many=True).data)

    @action_policy(scope=SITES_WRITE, role=SIGNED_IN, recent_proof=False, if_match=False, impersonation=True)
    @extend_schema(operation_id="create_site", request=SiteCreateSerializer, responses={201: SiteSerializer})
    def create(self, request: Request) -> Response:
        """Create a site, empty or from a site template."""
        site = sites_services.create_site(
            actor=self.actor, owner_id=self.caller.pk, **self.validated(SiteCreateSerializer)
        )
        site.role = Role.OWNER  # type: ignore[attr-defined]
        headers = {"Location": f"/api/v1/sites/{site.pk}"}
        return versioned(SiteSerializer(site).data, site.version, status=201, headers=headers)

    @action_policy(
        scope=SITES_READ,
        role=Role.VIEWER,
        recent_proof=False,
        if_match=False,
        impersonation=True,
        cache="site",
    )
    @extend_schema(operation_id="site", responses=SiteSerializer)
    def retrieve(self, request: Request, pk: Any) -> Response:
        """Return one site."""
        site = self.site()
        return versioned(SiteSerializer(site).data, site.version)

    @action_policy(scope=SITES_WRITE, role=Role.OWNER, recent_proof=False, if_match=True, impersonation=False)
    @extend_schema(
        operation_id="change_site", request=SiteChangeSerializer(partial=True), responses=SiteSerializer
    )
    def partial_update(self, request: Request, pk: Any) -> Response:
        """Change the name or the subdomain."""
        changes = self.validated(SiteChangeSerializer, partial=True)
        site = sites_services.change_site(self.site(), changes, actor=self.actor, if_match=if_match(request))
        return self._response_for_owner(site)

    @action_policy(scope=SITES_WRITE, role=Role.OWNER, recent_proof=False, if_match=True, impersonation=False)
    @extend_schema(operation_id="delete_site", responses={204: None})
    def destroy(self, request: Request, pk: Any) -> Response:
        """Delete a site. It can be restored for 30 days."""
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
        """Restore a deleted site. It is live again if it was."""
        return self._response_for_owner(sites_services.restore_site(self.site(), actor=self.actor))

    def _response_for_owner(self, site: Any) -> Response:
        """Return the site for its owner; a site that a service returns has no `role` annotation."""
        site.role = Role.OWNER
        return versioned(SiteSerializer(site).data, site.version)


BLUEPRINT_SCHEMA = RenderedDocument(
    lambda: json.dumps(schema.json_schema(), ensure_ascii=False).encode(),
    content_type="application/json",
    cache_control="public, max-age=3600",
)


class CatalogueViewSet(ApiViewSet):
    """The blueprint schema and the site templates, which are public."""

    serializer_class = SiteTemplateSerializer

    @action_policy(scope=None, role=ANONYMOUS, recent_proof=False, if_match=False, impersonation=True)
    @extend_schema(
        operation_id="blueprint_schema",
        responses={200: {"type": "object", "additionalProperties": True}},
        auth=[],
    )
    def blueprint_schema(self, request: Request) -> HttpResponse:
        """Return the JSON Schema (2020-12) of a blueprint."""
        return BLUEPRINT_SCHEMA(request)

    @action_policy(scope=None, role=ANONYMOUS, recent_proof=False, if_match=False, impersonation=True)
    @extend_schema(operation_id="list_site_templates", responses=SiteTemplateSerializer(many=True), auth=[])
    def templates(self, request: Request) -> Response:
        """List the templates that a new site can start from."""
        templates = [
            {
                "key": template.key,
                "name": template.name,
                "description": template.description,
                "pages": len(template.blueprint["pages"]),
            }
            for template in site_templates().values()
        ]
        return Response(templates, headers={"Cache-Control": "public, max-age=3600"})
