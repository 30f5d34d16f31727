"""Sites over HTTP: each view scopes to the caller, then calls one service."""

from typing import Any, cast
from uuid import UUID

from django.shortcuts import get_object_or_404
from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response

from audit import actors
from audit.actors import Actor
from core.api import ApiViewSet, versioned
from core.filters import parameter
from core.pagination import KeysetPagination
from core.parsing import StrictJSONParser, StrictPatchParser
from core.preconditions import if_match, if_match_tag
from sites import blueprint, services
from sites.differences import differences
from sites.models import Draft, Release, Revision, Site, SiteQuerySet
from sites.permissions import SITES_PUBLISH, SITES_READ, SITES_WRITE
from sites.serializers import (
    DifferencesSerializer,
    ReleaseSerializer,
    RevisionSerializer,
    SiteChangeSerializer,
    SiteCreateSerializer,
    SiteSerializer,
    SiteTemplateSerializer,
)
from sites.services.drafts import find_block, tag_of
from sites.starters import site_templates

DOCUMENT = {
    "type": "object",
    "description": "A blueprint; its schema is at /api/v1/blueprint/schema.",
    "additionalProperties": True,
}

PATCH = {
    "type": "array",
    "description": "JSON Patch (RFC 6902).",
    "items": {
        "type": "object",
        "required": ["op", "path"],
        "properties": {"op": {"type": "string"}, "path": {"type": "string"}},
    },
}
STATES = {"type": "string", "description": "`draft`, `live`, `revision:<id>` or `release:<id>`; the draft if absent."}
SIDE_FROM, SIDE_TO = (OpenApiParameter(name, STATES) for name in ("from", "to"))


class FencedViewSet(ApiViewSet):
    """A view of customer content, for somebody who is signed in."""

    fenced = True

    @property
    def actor(self) -> Actor:
        return actors.user(self.caller)


class SiteViewSet(FencedViewSet):
    serializer_class = SiteSerializer
    pagination_class = KeysetPagination
    conditional = ("partial_update", "destroy")
    without_body = ("restore", "publish", "unpublish")
    scopes = {
        "list": SITES_READ,
        "retrieve": SITES_READ,
        "create": SITES_WRITE,
        "partial_update": SITES_WRITE,
        "destroy": SITES_WRITE,
        "restore": SITES_WRITE,
        "publish": SITES_PUBLISH,
        "unpublish": SITES_PUBLISH,
    }

    def get_queryset(self) -> SiteQuerySet:
        sites: SiteQuerySet = Site.objects.visible_to(self.caller).select_related("live_release")
        return sites if self.action == "restore" else sites.alive()

    @extend_schema(operation_id="list_sites", responses=SiteSerializer(many=True))
    def list(self, request: Request) -> Response:
        """Your sites, newest first."""
        page = self.paginate_queryset(self.get_queryset())
        return self.get_paginated_response(SiteSerializer(page, many=True).data)

    @extend_schema(operation_id="create_site", request=SiteCreateSerializer, responses={201: SiteSerializer})
    def create(self, request: Request) -> Response:
        """Make a site, empty or from a site template."""
        site = services.create_site(actor=self.actor, owner_id=self.caller.pk, **self.validated(SiteCreateSerializer))
        headers = {"Location": f"/api/v1/sites/{site.pk}"}
        return versioned(SiteSerializer(site).data, site.version, status=201, headers=headers)

    @extend_schema(operation_id="site", responses=SiteSerializer)
    def retrieve(self, request: Request, pk: Any) -> Response:
        """One site."""
        site = self.get_object()
        return versioned(SiteSerializer(site).data, site.version)

    @extend_schema(operation_id="change_site", request=SiteChangeSerializer(partial=True), responses=SiteSerializer)
    def partial_update(self, request: Request, pk: Any) -> Response:
        """Change name or subdomain."""
        changes = self.validated(SiteChangeSerializer, partial=True)
        site = services.change_site(self.get_object(), changes, actor=self.actor, if_match=if_match(request))
        return versioned(SiteSerializer(site).data, site.version)

    @extend_schema(operation_id="delete_site", responses={204: None})
    def destroy(self, request: Request, pk: Any) -> Response:
        """Hide a site at once; for 30 days it can be restored."""
        services.delete_site(self.get_object(), actor=self.actor, now=timezone.now(), if_match=if_match(request))
        return Response(status=204)

    @extend_schema(operation_id="restore_site", request=None, responses=SiteSerializer)
    def restore(self, request: Request, pk: Any) -> Response:
        """Bring a deleted site back as it was."""
        site = services.restore_site(self.get_object(), actor=self.actor)
        return versioned(SiteSerializer(site).data, site.version)

    @extend_schema(operation_id="publish_site", request=None, responses={201: ReleaseSerializer})
    def publish(self, request: Request, pk: Any) -> Response:
        """Show the draft to visitors. With If-Match: only if the draft is still that version."""
        release = services.publish_site(self.get_object(), actor=self.actor, if_match=if_match(request, required=False))
        return Response(ReleaseSerializer(release).data, status=201)

    @extend_schema(operation_id="unpublish_site", request=None, responses=SiteSerializer)
    def unpublish(self, request: Request, pk: Any) -> Response:
        """Take a site off the web."""
        site = services.unpublish_site(self.get_object(), actor=self.actor)
        return versioned(SiteSerializer(site).data, site.version)


class OfSiteViewSet(FencedViewSet):
    """What belongs to one site: found through the sites that the caller may see."""

    def site(self) -> Site:
        found: Site = get_object_or_404(Site.objects.alive().visible_to(self.caller), pk=self.kwargs["pk"])
        return found


class BlueprintViewSet(OfSiteViewSet):
    body_limit = blueprint.MAX_BYTES
    conditional = ("update", "partial_update")
    with_list = ("partial_update",)
    parser_classes = (StrictJSONParser, StrictPatchParser)
    scopes = {"retrieve": SITES_READ, "update": SITES_WRITE, "partial_update": SITES_WRITE}

    @extend_schema(operation_id="blueprint", responses={200: DOCUMENT})
    def retrieve(self, request: Request, pk: Any) -> Response:
        """The draft's blueprint; its version is the ETag."""
        draft = Draft.objects.get(site=self.site())
        return versioned(draft.blueprint, draft.version)

    @extend_schema(operation_id="save_blueprint", request={"application/json": DOCUMENT}, responses={200: DOCUMENT})
    def update(self, request: Request, pk: Any) -> Response:
        """Replace the draft's blueprint. Errors point to the node. The answer is what was kept, rich text sanitised."""
        wanted = if_match(request)
        draft = services.save_draft(self.site(), request.data, actor=self.actor, if_match=wanted)
        return versioned(draft.blueprint, draft.version)

    @extend_schema(
        operation_id="patch_blueprint",
        request={"application/json-patch+json": PATCH, "application/json": PATCH},
        responses={200: DOCUMENT},
    )
    def partial_update(self, request: Request, pk: Any) -> Response:
        """Change parts of the draft by JSON Patch (RFC 6902): all operations or none. 409 when a `test` does not hold."""
        wanted = if_match(request)
        draft = services.patch_draft(self.site(), request.data, actor=self.actor, if_match=wanted)
        return versioned(draft.blueprint, draft.version)


class BlockViewSet(OfSiteViewSet):
    """One block of the draft, under a tag of its own: two people on two blocks do not meet."""

    body_limit = blueprint.MAX_PAGE_BYTES
    conditional = ("partial_update",)
    scopes = {"retrieve": SITES_READ, "partial_update": SITES_WRITE}

    @extend_schema(operation_id="block", responses={200: DOCUMENT})
    def retrieve(self, request: Request, pk: Any, block: str) -> Response:
        """One block, wherever it stands in the draft. Its ETag changes with its content and with nothing else."""
        found = find_block(Draft.objects.get(site=self.site()).blueprint, block)
        return tagged(found)

    @extend_schema(operation_id="patch_block", request={"application/json": DOCUMENT}, responses={200: DOCUMENT})
    def partial_update(self, request: Request, pk: Any, block: str) -> Response:
        """Merge a patch (RFC 7396) into one block; null takes a value away. The draft's version moves on."""
        wanted = if_match_tag(request)
        return tagged(services.patch_block(self.site(), block, dict(request.data), actor=self.actor, if_match=wanted))


def tagged(block: dict[str, Any]) -> Response:
    return Response(block, headers={"ETag": f'"{tag_of(block)}"', "Cache-Control": "private, no-cache"})


class ReleaseViewSet(OfSiteViewSet):
    serializer_class = ReleaseSerializer
    pagination_class = KeysetPagination
    conditional = ("restore",)
    without_body = ("restore",)
    scopes = {"list": SITES_READ, "restore": SITES_WRITE}

    @extend_schema(operation_id="list_releases", responses=ReleaseSerializer(many=True))
    def list(self, request: Request, pk: Any) -> Response:
        """What was published, newest first."""
        releases = Release.objects.filter(site=self.site()).defer("blueprint")
        page = self.paginate_queryset(releases)
        return self.get_paginated_response(ReleaseSerializer(page, many=True).data)

    @extend_schema(operation_id="restore_release", request=None, responses={200: DOCUMENT})
    def restore(self, request: Request, pk: Any, release: Any) -> Response:
        """Make what was published then the draft. Visitors see it once you publish."""
        site, wanted = self.site(), if_match(request)
        found = get_object_or_404(Release, site=site, pk=release)
        return restored(site, found.blueprint, actor=self.actor, if_match=wanted, source=f"release {found.number}")


class RevisionViewSet(OfSiteViewSet):
    serializer_class = RevisionSerializer
    pagination_class = KeysetPagination
    conditional = ("restore",)
    without_body = ("restore",)
    scopes = {"list": SITES_READ, "retrieve": SITES_READ, "compare": SITES_READ, "restore": SITES_WRITE}

    @extend_schema(operation_id="list_revisions", responses=RevisionSerializer(many=True))
    def list(self, request: Request, pk: Any) -> Response:
        """Every save of the draft, newest first; older ones are kept hourly, daily, then weekly."""
        page = self.paginate_queryset(Revision.objects.filter(site=self.site()).defer("blueprint"))
        return self.get_paginated_response(RevisionSerializer(page, many=True).data)

    @extend_schema(operation_id="revision", responses={200: DOCUMENT})
    def retrieve(self, request: Request, pk: Any, revision: Any) -> Response:
        """The blueprint as it was then."""
        return Response(get_object_or_404(Revision, site=self.site(), pk=revision).blueprint)

    @extend_schema(operation_id="restore_revision", request=None, responses={200: DOCUMENT})
    def restore(self, request: Request, pk: Any, revision: Any) -> Response:
        """Make the draft what it was then; that is a new save, so nothing is lost."""
        site, wanted = self.site(), if_match(request)
        found = get_object_or_404(Revision, site=site, pk=revision)
        return restored(site, found.blueprint, actor=self.actor, if_match=wanted, source=f"revision {found.version}")

    @extend_schema(operation_id="compare", parameters=[SIDE_FROM, SIDE_TO], responses=DifferencesSerializer)
    def compare(self, request: Request, pk: Any) -> Response:
        """What changed between two states of a site: pages and blocks added, removed, moved or changed."""
        site = self.site()
        before, after = (self.state(site, parameter(request, name, side)) for name in ("from", "to"))
        return Response(differences(before, after))

    def state(self, site: Site, named: tuple[str, UUID | None] | None) -> dict[str, Any]:
        """The blueprint that a side of a comparison names; the draft if it names none."""
        kind, found = named or ("draft", None)
        if kind == "draft":
            return cast(dict[str, Any], Draft.objects.get(site=site).blueprint)
        if kind == "revision":
            return cast(dict[str, Any], get_object_or_404(Revision, site=site, pk=found).blueprint)
        wanted = site.live_release_id if kind == "live" else found
        return cast(dict[str, Any], get_object_or_404(Release, site=site, pk=wanted).blueprint)


def side(text: str) -> tuple[str, UUID | None]:
    """`draft`, `live`, `revision:<id>` or `release:<id>`. Raises ValueError."""
    kind, _, found = text.partition(":")
    if text in {"draft", "live"}:
        return kind, None
    if kind not in {"revision", "release"}:
        raise ValueError
    return kind, UUID(found)


def restored(site: Site, document: dict[str, Any], **how: Any) -> Response:
    draft = services.restore_blueprint(site, document, **how)
    return versioned(draft.blueprint, draft.version)


class CatalogueViewSet(ApiViewSet):
    """What is the same for everybody."""

    permission_classes = (AllowAny,)
    serializer_class = SiteTemplateSerializer

    @extend_schema(
        operation_id="blueprint_schema", responses={200: {"type": "object", "additionalProperties": True}}, auth=[]
    )
    def blueprint_schema(self, request: Request) -> Response:
        """JSON Schema (2020-12) of a blueprint."""
        return Response(blueprint.json_schema(), headers={"Cache-Control": "public, max-age=3600"})

    @extend_schema(operation_id="list_site_templates", responses=SiteTemplateSerializer(many=True), auth=[])
    def templates(self, request: Request) -> Response:
        """Finished sites to start from."""
        listed = [
            {"key": item.key, "name": item.name, "description": item.description, "pages": len(item.blueprint["pages"])}
            for item in site_templates().values()
        ]
        return Response(listed, headers={"Cache-Control": "public, max-age=3600"})
