"""The public API: published content as JSON, for front ends that render sites themselves.

It needs no credentials and allows requests from every origin.
"""

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
from sites.database_functions import BlueprintWithOnePage
from sites.models import Release, Site
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
from sites.viewsets import tag_param

CACHE_SECONDS = 24 * 3600
REVALIDATE = "public, max-age=0, must-revalidate"
PATH = OpenApiParameter(
    "path", str, required=True, description="The path of the page on the site, such as `/about`."
)
Document = dict[str, Any]


class PublicViewSet(ApiViewSet):
    """Reads in the tenancy context `public`.

    In this context row-level security shows live sites, their live release and published posts only. Each
    request finds the site with one query. JSON made from a release is cached, because a release never
    changes.
    """

    pagination_class = KeysetPagination
    filters = ("tag",)
    order = Ordering(F("published_at"), datetime)
    serializer_class = PublicSiteSerializer

    def scope(self) -> Any:
        return tenancy.context(tenancy.PUBLIC)

    def site(self) -> Site:
        """Return the live site of the host in the URL, with its release. Raises NotFound."""
        host = self.kwargs["host"].lower()
        subdomain = host.removesuffix("." + host_of("").removeprefix("."))
        if not LABEL.match(subdomain) or host_of(subdomain) != host:
            raise NotFound
        sites = Site.objects.published().select_related("live_release").defer("live_release__blueprint")
        site: Site | None = sites.filter(subdomain=subdomain).first()
        if site is None:
            raise NotFound
        return site

    def _cached_response(
        self, request: Request, site: Site, build: Callable[[Document], Document | None], path: str = ""
    ) -> Response:
        """Answer with `build(blueprint)`, which runs once for each release and is cached.

        The blueprint has the blocks of the page at `path` only; no blocks when `path` is empty.

        Raises NotFound when there is no page at `path`.
        """
        version = f"{renderer_version()}:{site.live_release_id}:{site.subdomain}:{path}"
        etag = f'"{hashlib.sha256(version.encode()).hexdigest()[:32]}"'
        headers = {"ETag": etag, "Cache-Control": REVALIDATE}
        cache_key = f"public:{version}"
        body = cache.get_bytes(str(site.pk), cache_key)
        if body is None:
            document = self._build_document(site, build, path)
            body = json.dumps(document, ensure_ascii=False, default=str).encode()
            cache.set_bytes(str(site.pk), cache_key, body, seconds=CACHE_SECONDS)
        if matches_if_none_match(request.headers.get("If-None-Match", ""), etag):
            return Response(status=304, headers=headers)
        return Response(json.loads(body), headers=headers)

    @staticmethod
    def _build_document(site: Site, build: Callable[[Document], Document | None], path: str) -> Document:
        """Read the live release's blueprint and return `build(blueprint)`. Raises NotFound."""
        assert site.live_release_id is not None  # a check constraint: a live site has a release
        if path and not Release.objects.filter(
            pk=site.live_release_id, blueprint__contains={"pages": [{"path": path}]}
        ):
            raise NotFound
        blueprints = Release.objects.values_list(BlueprintWithOnePage("blueprint", path), flat=True)
        document = build(blueprints.get(pk=site.live_release_id))
        if document is None:
            raise NotFound
        return document

    @action_policy(scope=None, role=ANONYMOUS, recent_proof=False, if_match=False, impersonation=True)
    @extend_schema(operation_id="public_site", responses=PublicSiteSerializer, auth=[])
    def retrieve(self, request: Request, host: str) -> Response:
        """Return a published site: settings, theme, navigation, and its pages without their blocks."""
        site = self.site()
        return self._cached_response(
            request, site, lambda blueprint: public_json.serialize_site(blueprint, site)
        )

    @action_policy(scope=None, role=ANONYMOUS, recent_proof=False, if_match=False, impersonation=True)
    @extend_schema(operation_id="public_page", parameters=[PATH], responses=PublicPageSerializer, auth=[])
    def retrieve_page(self, request: Request, host: str) -> Response:
        """Return one published page with its blocks and the URLs of its pictures."""
        path = query_param(request, "path", text_param) or "/"
        site = self.site()
        base_url = address_of(site.subdomain)
        return self._cached_response(
            request, site, lambda blueprint: public_json.serialize_page(blueprint, path, base_url), path
        )

    @action_policy(scope=None, role=ANONYMOUS, recent_proof=False, if_match=False, impersonation=True)
    @extend_schema(
        operation_id="public_posts",
        parameters=[OpenApiParameter("tag", str)],
        responses=PublicPostListSerializer(many=True),
        auth=[],
    )
    def list_posts(self, request: Request, host: str) -> Response:
        """List the published posts without their blocks, newest first."""
        site = self.site()
        tag = query_param(request, "tag", tag_param)
        posts = self.paginate_queryset(PublishedPosts(site.pk).queryset(tag or ""))
        response = self.get_paginated_response(
            [public_json.serialize_post_summary(post) for post in posts or []]
        )
        return self._conditional_response(request, response.data)

    @action_policy(scope=None, role=ANONYMOUS, recent_proof=False, if_match=False, impersonation=True)
    @extend_schema(operation_id="public_post", responses={200: PublicPostSerializer, 301: None}, auth=[])
    def retrieve_post(self, request: Request, host: str, slug: str) -> Response:
        """Return one published post. A former slug redirects to the current one."""
        site = self.site()
        posts = PublishedPosts(site.pk)
        post = posts.post(slug)
        if post is None and (current_slug := posts.current_slug(slug)):
            location = f"/api/v1/public/sites/{host_of(site.subdomain)}/posts/{current_slug}"
            return Response(status=301, headers={"Location": location})
        if post is None:
            raise NotFound
        return self._conditional_response(
            request, public_json.serialize_post(post, address_of(site.subdomain))
        )

    @staticmethod
    def _conditional_response(request: Request, data: Any) -> Response:
        """Answer with `data` and an ETag made from it; 304 when the client has this version already."""
        body = json.dumps(data, sort_keys=True, default=str)
        etag = f'"{hashlib.sha256(body.encode()).hexdigest()[:32]}"'
        headers = {"ETag": etag, "Cache-Control": REVALIDATE}
        if matches_if_none_match(request.headers.get("If-None-Match", ""), etag):
            return Response(status=304, headers=headers)
        return Response(data, headers=headers)
