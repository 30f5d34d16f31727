"""API views of the draft: its blueprint, its blocks and its revisions."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast
from uuid import UUID

from django.shortcuts import get_object_or_404
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from core.admission.costs import LARGE_BYTES, expensive_work
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
from sites.selectors import get_blueprint
from sites.serializers.drafts import DifferencesSerializer, RevisionSerializer
from sites.services import drafts
from sites.services.drafts import block_etag, find_block
from sites.viewsets import DOCUMENT, Role, SiteScopedViewSet

JSON_PATCH = {
    "type": "array",
    "description": "JSON Patch (RFC 6902).",
    "items": {
        "type": "object",
        "required": ["op", "path"],
        "properties": {"op": {"type": "string"}, "path": {"type": "string"}},
    },
}
STATE_NAME = {
    "type": "string",
    "description": "`draft`, `live`, `revision:<id>` or `release:<id>`; the draft if absent.",
}
COMPARE_PARAMETERS = [OpenApiParameter("from", STATE_NAME), OpenApiParameter("to", STATE_NAME)]


class BlueprintViewSet(SiteScopedViewSet):
    """The whole draft. A save of a large one is expensive work, because it is validated as a whole."""

    max_body_bytes = schema.MAX_BLUEPRINT_BYTES
    parser_classes = (StrictJSONParser, StrictPatchParser)

    def work(self, *, is_large: bool) -> AbstractContextManager[None]:
        """Return the context of a save: expensive work when the draft is large."""
        return expensive_work(self.request) if is_large else nullcontext()

    @action_policy(
        scope=SITES_READ,
        role=Role.VIEWER,
        recent_proof=False,
        if_match=False,
        impersonation=True,
        cache="site",
    )
    @extend_schema(operation_id="blueprint", responses={200: DOCUMENT})
    def retrieve(self, request: Request, pk: Any) -> Response:
        """Return the draft's blueprint. The ETag is its version."""
        draft = Draft.objects.get(site=self.site())
        return versioned(draft.blueprint, draft.version)

    @action_policy(scope=SITES_WRITE, role=Role.AUTHOR, recent_proof=False, if_match=True, impersonation=True)
    @extend_schema(
        operation_id="save_blueprint", request={"application/json": DOCUMENT}, responses={200: DOCUMENT}
    )
    def update(self, request: Request, pk: Any) -> Response:
        """Replace the draft's blueprint.

        Each validation error has a JSON Pointer into the blueprint. The response is the stored blueprint, in
        which rich text is sanitised.
        """
        precondition = if_match(request)
        site = self.site()
        with self.work(is_large=int(request.META.get("CONTENT_LENGTH") or 0) >= LARGE_BYTES):
            draft = drafts.save_draft(site, request.data, actor=self.actor, if_match=precondition)
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
        request={"application/json-patch+json": JSON_PATCH, "application/json": JSON_PATCH},
        responses={200: DOCUMENT},
    )
    def partial_update(self, request: Request, pk: Any) -> Response:
        """Change parts of the draft with a JSON Patch (RFC 6902): all operations or none.

        A `test` operation that fails is answered with 409.
        """
        precondition = if_match(request)
        site = self.site()
        with self.work(is_large=Draft.objects.filter(site=site, size__gte=LARGE_BYTES).exists()):
            draft = drafts.patch_draft(site, request.data, actor=self.actor, if_match=precondition)
        return versioned(draft.blueprint, draft.version)


class BlockViewSet(SiteScopedViewSet):
    """One block of the draft, with its own ETag, so that two people can edit two blocks at once."""

    max_body_bytes = schema.MAX_PAGE_BYTES

    @action_policy(
        scope=SITES_READ,
        role=Role.VIEWER,
        recent_proof=False,
        if_match=False,
        impersonation=True,
        cache="site",
    )
    @extend_schema(operation_id="block", responses={200: DOCUMENT})
    def retrieve(self, request: Request, pk: Any, block: str) -> Response:
        """Return one block of the draft, at any depth of any page.

        Its ETag depends on the content of the block only.
        """
        draft = Draft.objects.get(site=self.site())
        return block_response(find_block(draft.blueprint, block))

    @action_policy(scope=SITES_WRITE, role=Role.AUTHOR, recent_proof=False, if_match=True, impersonation=True)
    @extend_schema(
        operation_id="patch_block", request={"application/json": DOCUMENT}, responses={200: DOCUMENT}
    )
    def partial_update(self, request: Request, pk: Any, block: str) -> Response:
        """Apply a JSON Merge Patch (RFC 7396) to one block; null removes a value.

        This is a save of the draft and increases its version.
        """
        precondition = if_match_tag(request)
        changed_block = drafts.patch_block(
            self.site(), block, dict(request.data), actor=self.actor, if_match=precondition
        )
        return block_response(changed_block)


def block_response(block: dict[str, Any]) -> Response:
    """Return a block with its ETag."""
    return Response(block, headers={"ETag": f'"{block_etag(block)}"', "Cache-Control": "private, no-cache"})


class RevisionViewSet(SiteScopedViewSet):
    serializer_class = RevisionSerializer
    pagination_class = KeysetPagination

    @action_policy(scope=SITES_READ, role=Role.VIEWER, recent_proof=False, if_match=False, impersonation=True)
    @extend_schema(operation_id="list_revisions", responses=RevisionSerializer(many=True))
    def list(self, request: Request, pk: Any) -> Response:
        """List the saves of the draft, newest first. Older ones are kept hourly, daily, then weekly."""
        page = self.paginate_queryset(Revision.objects.filter(site=self.site()).defer("blueprint"))
        return self.get_paginated_response(RevisionSerializer(page, many=True).data)

    @action_policy(scope=SITES_READ, role=Role.VIEWER, recent_proof=False, if_match=False, impersonation=True)
    @extend_schema(operation_id="revision", responses={200: DOCUMENT})
    def retrieve(self, request: Request, pk: Any, revision: Any) -> Response:
        """Return the blueprint of one revision."""
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
        """Replace the draft with this revision. This is a new save, so the current draft stays a revision."""
        site = self.site()
        precondition = if_match(request)
        saved = get_object_or_404(Revision, site=site, pk=revision)
        draft = drafts.restore_blueprint(
            site,
            saved.blueprint,
            actor=self.actor,
            if_match=precondition,
            source=f"revision {saved.version}",
        )
        return versioned(draft.blueprint, draft.version)

    @action_policy(scope=SITES_READ, role=Role.VIEWER, recent_proof=False, if_match=False, impersonation=True)
    @extend_schema(operation_id="compare", parameters=COMPARE_PARAMETERS, responses=DifferencesSerializer)
    def compare(self, request: Request, pk: Any) -> Response:
        """Compare two states of a site: pages and blocks that were added, removed, moved or changed."""
        site = self.site()
        states = [query_param(request, name, state_param) for name in ("from", "to")]
        with expensive_work(request):
            before, after = (self._blueprint_of_state(site, state) for state in states)
            return Response(diff_blueprints(before, after))

    def _blueprint_of_state(self, site: Site, state: tuple[str, UUID | None] | None) -> dict[str, Any]:
        """Return the blueprint of a state that `state_param` parsed; that of the draft for None.

        Raises Http404 when there is no such revision or release, or the site is not live.
        """
        kind, pk = state or ("draft", None)
        if kind == "draft":
            return get_blueprint(Draft.objects.filter(site=site))
        if kind == "revision":
            return get_blueprint(Revision.objects.filter(site=site, pk=cast(UUID, pk)))
        release_id: Any = site.live_release_id if kind == "live" else pk  # None finds no release
        return get_blueprint(Release.objects.filter(site=site, pk=release_id))


def state_param(text: str) -> tuple[str, UUID | None]:
    """Parse `draft`, `live`, `revision:<id>` or `release:<id>` into a pair of kind and id.

    Raises ValueError.
    """
    kind, _, pk = text.partition(":")
    if text in {"draft", "live"}:
        return kind, None
    if kind not in {"revision", "release"}:
        raise ValueError
    return kind, UUID(pk)
