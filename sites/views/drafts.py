"""Drafts over HTTP: the blueprint, its blocks, and every save of it."""

from typing import Any, cast
from uuid import UUID

from django.shortcuts import get_object_or_404
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from core.http.action_policy import action_policy
from core.http.json_parser import StrictJSONParser, StrictPatchParser
from core.http.pagination import KeysetPagination
from core.http.preconditions import if_match, if_match_tag
from core.http.query_params import query_param
from core.http.responses import versioned
from sites.blueprint import schema
from sites.blueprint.diff import diff_blueprints
from sites.models import Draft, Release, Revision, Site
from sites.permissions import SITES_READ, SITES_WRITE
from sites.serializers.drafts import DifferencesSerializer, RevisionSerializer
from sites.services import drafts
from sites.services.drafts import find_block, tag_of
from sites.viewsets import DOCUMENT, Role, SiteScopedViewSet

PATCH = {
    "type": "array",
    "description": "JSON Patch (RFC 6902).",
    "items": {
        "type": "object",
        "required": ["op", "path"],
        "properties": {"op": {"type": "string"}, "path": {"type": "string"}},
    },
}
STATES = {
    "type": "string",
    "description": "`draft`, `live`, `revision:<id>` or `release:<id>`; the draft if absent.",
}
SIDE_FROM, SIDE_TO = (OpenApiParameter(name, STATES) for name in ("from", "to"))


class BlueprintViewSet(SiteScopedViewSet):
    max_body_bytes = schema.MAX_BYTES
    parser_classes = (StrictJSONParser, StrictPatchParser)

    @action_policy(scope=SITES_READ, role=Role.VIEWER, recent_proof=False, if_match=False, impersonation=True)
    @extend_schema(operation_id="blueprint", responses={200: DOCUMENT})
    def retrieve(self, request: Request, pk: Any) -> Response:
        """The draft's blueprint; its version is the ETag."""
        draft = Draft.objects.get(site=self.site())
        return versioned(draft.blueprint, draft.version)

    @action_policy(scope=SITES_WRITE, role=Role.AUTHOR, recent_proof=False, if_match=True, impersonation=True)
    @extend_schema(
        operation_id="save_blueprint", request={"application/json": DOCUMENT}, responses={200: DOCUMENT}
    )
    def update(self, request: Request, pk: Any) -> Response:
        """Replace the draft's blueprint.

        Errors point to the node. The answer is what was kept, rich text sanitised.
        """
        wanted = if_match(request)
        draft = drafts.save_draft(self.site(), request.data, actor=self.actor, if_match=wanted)
        return versioned(draft.blueprint, draft.version)

    @action_policy(
        scope=SITES_WRITE,
        role=Role.AUTHOR,
        recent_proof=False,
        if_match=True,
        impersonation=True,
        body="list",
    )
    @extend_schema(
        operation_id="patch_blueprint",
        request={"application/json-patch+json": PATCH, "application/json": PATCH},
        responses={200: DOCUMENT},
    )
    def partial_update(self, request: Request, pk: Any) -> Response:
        """Change parts of the draft by JSON Patch (RFC 6902): all operations or none. 409 when a `test` does
        not hold.
        """
        wanted = if_match(request)
        draft = drafts.patch_draft(self.site(), request.data, actor=self.actor, if_match=wanted)
        return versioned(draft.blueprint, draft.version)


class BlockViewSet(SiteScopedViewSet):
    """One block of the draft, under a tag of its own: two people on two blocks do not meet."""

    max_body_bytes = schema.MAX_PAGE_BYTES

    @action_policy(scope=SITES_READ, role=Role.VIEWER, recent_proof=False, if_match=False, impersonation=True)
    @extend_schema(operation_id="block", responses={200: DOCUMENT})
    def retrieve(self, request: Request, pk: Any, block: str) -> Response:
        """One block, wherever it stands in the draft.

        Its ETag changes with its content and with nothing else.
        """
        found = find_block(Draft.objects.get(site=self.site()).blueprint, block)
        return tagged(found)

    @action_policy(scope=SITES_WRITE, role=Role.AUTHOR, recent_proof=False, if_match=True, impersonation=True)
    @extend_schema(
        operation_id="patch_block", request={"application/json": DOCUMENT}, responses={200: DOCUMENT}
    )
    def partial_update(self, request: Request, pk: Any, block: str) -> Response:
        """Merge a patch (RFC 7396) into one block; null takes a value away. The draft's version moves on."""
        wanted = if_match_tag(request)
        return tagged(
            drafts.patch_block(self.site(), block, dict(request.data), actor=self.actor, if_match=wanted)
        )


def tagged(block: dict[str, Any]) -> Response:
    return Response(block, headers={"ETag": f'"{tag_of(block)}"', "Cache-Control": "private, no-cache"})


class RevisionViewSet(SiteScopedViewSet):
    serializer_class = RevisionSerializer
    pagination_class = KeysetPagination

    @action_policy(scope=SITES_READ, role=Role.VIEWER, recent_proof=False, if_match=False, impersonation=True)
    @extend_schema(operation_id="list_revisions", responses=RevisionSerializer(many=True))
    def list(self, request: Request, pk: Any) -> Response:
        """Every save of the draft, newest first; older ones are kept hourly, daily, then weekly."""
        page = self.paginate_queryset(Revision.objects.filter(site=self.site()).defer("blueprint"))
        return self.get_paginated_response(RevisionSerializer(page, many=True).data)

    @action_policy(scope=SITES_READ, role=Role.VIEWER, recent_proof=False, if_match=False, impersonation=True)
    @extend_schema(operation_id="revision", responses={200: DOCUMENT})
    def retrieve(self, request: Request, pk: Any, revision: Any) -> Response:
        """The blueprint as it was then."""
        return Response(get_object_or_404(Revision, site=self.site(), pk=revision).blueprint)

    @action_policy(
        scope=SITES_WRITE,
        role=Role.AUTHOR,
        recent_proof=False,
        if_match=True,
        impersonation=True,
        body="none",
    )
    @extend_schema(operation_id="restore_revision", request=None, responses={200: DOCUMENT})
    def restore(self, request: Request, pk: Any, revision: Any) -> Response:
        """Make the draft what it was then; that is a new save, so nothing is lost."""
        site = self.site()
        wanted = if_match(request)
        found = get_object_or_404(Revision, site=site, pk=revision)
        return restored(
            site, found.blueprint, actor=self.actor, if_match=wanted, source=f"revision {found.version}"
        )

    @action_policy(scope=SITES_READ, role=Role.VIEWER, recent_proof=False, if_match=False, impersonation=True)
    @extend_schema(operation_id="compare", parameters=[SIDE_FROM, SIDE_TO], responses=DifferencesSerializer)
    def compare(self, request: Request, pk: Any) -> Response:
        """What changed between two states of a site: pages and blocks added, removed, moved or changed."""
        site = self.site()
        before, after = (self.state(site, query_param(request, name, side)) for name in ("from", "to"))
        return Response(diff_blueprints(before, after))

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
    draft = drafts.restore_blueprint(site, document, **how)
    return versioned(draft.blueprint, draft.version)
