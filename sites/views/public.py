"""What is published, as JSON, for front ends that render sites themselves. For anybody, from anywhere."""

import hashlib
import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

from django.db.models import F
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from core import tenancy
from core.errors import NotFound
from core.http.action_policy import ANONYMOUS, action_policy
from core.http.pagination import KeysetPagination, Ordering
from core.http.preconditions import matches_if_none_match
from core.http.query_params import query_param, text_param
from core.http.viewsets import ApiViewSet
from core.storage import cache
from sites.models import Post, Release, Site, WithOnePage
from sites.selectors import PublishedPosts
from sites.serializers.public import (
    PublicPageSerializer,
    PublicPostListSerializer,
    PublicPostSerializer,
    PublicSiteSerializer,
)
from sites.serving import public_json
from sites.serving.rendering import renderer_version
from sites.subdomains import LABEL, address_of, host_of
from sites.viewsets import tag

KEPT_SECONDS = 24 * 3600
PATH = OpenApiParameter("path", str, required=True, description="As visitors have it: `/about`.")
Document = dict[str, Any]


class PublicViewSet(ApiViewSet):
    """Reads in context `public`: row-level security shows live sites, their live release and live posts,
    nothing else.

    One query finds the site as it is now; what was made of its release before is kept.
    """

    pagination_class = KeysetPagination
    filters = ("tag",)
    order = Ordering(F("published_at"), datetime)
    serializer_class = PublicSiteSerializer

    def scope(self) -> Any:
        return tenancy.context(tenancy.PUBLIC)

    def found(self) -> Site:
        """The live site of the host. Raises NotFound."""
        subdomain = self.kwargs["host"].lower().removesuffix("." + host_of("").removeprefix("."))
        if not LABEL.match(subdomain) or host_of(subdomain) != self.kwargs["host"].lower():
            raise NotFound
        live = Site.objects.routed().select_related("live_release").defer("live_release__blueprint")
        site: Site | None = live.filter(subdomain=subdomain).first()
        if site is None:
            raise NotFound
        return site

    def kept(
        self, request: Request, site: Site, make: Callable[[Document], Document | None], path: str = ""
    ) -> Response:
        """`make(blueprint)`, made once for each release; the blueprint has the blocks of the page at `path`
        alone.

        Raises NotFound when it is None.
        """
        seen = f"{renderer_version()}:{site.live_release_id}:{site.subdomain}:{path}"
        etag = f'"{hashlib.sha256(seen.encode()).hexdigest()[:32]}"'
        headers = {"ETag": etag, "Cache-Control": "public, max-age=0, must-revalidate"}
        place = f"public:{seen}"
        body = cache.get_bytes(str(site.pk), place)
        if body is None:
            if path and not Release.objects.filter(
                pk=site.live_release_id, blueprint__contains={"pages": [{"path": path}]}
            ):  # type: ignore[misc]
                raise NotFound
            blueprint = Release.objects.values_list(WithOnePage("blueprint", path), flat=True)
            made = make(blueprint.get(pk=site.live_release_id))  # type: ignore[misc]  # live: it has one
            if made is None:
                raise NotFound
            body = json.dumps(made, ensure_ascii=False, default=str).encode()
            cache.set_bytes(str(site.pk), place, body, seconds=KEPT_SECONDS)
        if matches_if_none_match(request.headers.get("If-None-Match", ""), etag):
            return Response(status=304, headers=headers)
        return Response(json.loads(body), headers=headers)

    @action_policy(scope=None, role=ANONYMOUS, recent_proof=False, if_match=False, impersonation=True)
    @extend_schema(operation_id="public_site", responses=PublicSiteSerializer, auth=[])
    def retrieve(self, request: Request, host: str) -> Response:
        """A published site: settings, theme, navigation and its pages without their blocks."""
        site = self.found()
        return self.kept(request, site, lambda blueprint: public_json.site(blueprint, site))

    @action_policy(scope=None, role=ANONYMOUS, recent_proof=False, if_match=False, impersonation=True)
    @extend_schema(operation_id="public_page", parameters=[PATH], responses=PublicPageSerializer, auth=[])
    def page(self, request: Request, host: str) -> Response:
        """One published page with its blocks, and where its pictures are."""
        path = query_param(request, "path", text_param) or "/"
        site = self.found()
        base_url = address_of(site.subdomain)
        return self.kept(request, site, lambda blueprint: public_json.page(blueprint, path, base_url), path)

    @action_policy(scope=None, role=ANONYMOUS, recent_proof=False, if_match=False, impersonation=True)
    @extend_schema(
        operation_id="public_posts",
        parameters=[OpenApiParameter("tag", str)],
        responses=PublicPostListSerializer(many=True),
        auth=[],
    )
    def list_posts(self, request: Request, host: str) -> Response:
        """Published posts without their blocks, newest first."""
        site = self.found()
        wanted = query_param(request, "tag", tag)
        shown = PublishedPosts(site.pk).found(wanted or "")
        answer = self.get_paginated_response(
            [public_json.summary(post) for post in self.paginate_queryset(shown) or []]
        )
        return self.conditional_answer(request, answer)

    @action_policy(scope=None, role=ANONYMOUS, recent_proof=False, if_match=False, impersonation=True)
    @extend_schema(operation_id="public_post", responses={200: PublicPostSerializer, 301: None}, auth=[])
    def one_post(self, request: Request, host: str, slug: str) -> Response:
        """One published post. One whose slug has changed is found where it is now."""
        site = self.found()
        shelf = PublishedPosts(site.pk)
        post: Post | None = shelf.post(slug)
        if post is None and (moved := shelf.moved(slug)):
            return Response(
                status=301,
                headers={"Location": f"/api/v1/public/sites/{host_of(site.subdomain)}/posts/{moved}"},
            )
        if post is None:
            raise NotFound
        return self.conditional_answer(request, Response(public_json.post(post, address_of(site.subdomain))))

    @staticmethod
    def conditional_answer(request: Request, answer: Response) -> Response:
        """With an ETag made of what it says."""
        body = json.dumps(answer.data, sort_keys=True, default=str)
        etag = f'"{hashlib.sha256(body.encode()).hexdigest()[:32]}"'
        headers = {"ETag": etag, "Cache-Control": "public, max-age=0, must-revalidate"}
        if matches_if_none_match(request.headers.get("If-None-Match", ""), etag):
            return Response(status=304, headers=headers)
        return Response(answer.data, headers=headers)
