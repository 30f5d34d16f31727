"""Posts over HTTP."""

from typing import Any
from uuid import UUID

from django.db.models import F
from django.shortcuts import get_object_or_404
from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from core.errors import ScopeMissing
from core.http.action_policy import action_policy
from core.http.pagination import KeysetPagination, Ordering
from core.http.preconditions import if_match
from core.http.query_params import query_param
from core.http.responses import versioned
from sites.blueprint import schema
from sites.models import Post, PostQuerySet, Site
from sites.permissions import SITES_PUBLISH, SITES_READ, SITES_WRITE
from sites.serializers.posts import (
    PostCreateSerializer,
    PostListSerializer,
    PostSerializer,
    PostWriteSerializer,
)
from sites.services import posts as posts_services
from sites.viewsets import Role, SiteScopedViewSet, tag

STATES = ["draft", "scheduled", "live", "deleted"]


def state(text: str) -> str:
    if text not in STATES:
        raise ValueError
    return text


class PostViewSet(SiteScopedViewSet):
    serializer_class = PostSerializer
    pagination_class = KeysetPagination
    max_body_bytes = schema.MAX_PAGE_BYTES + 64 * 1024
    filters = ("state", "tag", "author")
    orderings = {"title": Ordering(F("title"), str)}

    def posts(self, site: Site) -> PostQuerySet:
        found: PostQuerySet = Post.objects.filter(site=site).select_related("site")
        return found

    def post_of(self, site: Site) -> Post:
        wanted = self.posts(site).deleted() if self.action == "restore" else self.posts(site).alive()
        return get_object_or_404(wanted, pk=self.kwargs["post_id"])

    @action_policy(scope=SITES_READ, role=Role.VIEWER, recent_proof=False, if_match=False, impersonation=True)
    @extend_schema(
        operation_id="list_posts",
        parameters=[
            OpenApiParameter("state", {"type": "string", "enum": STATES}),
            OpenApiParameter("tag", str),
            OpenApiParameter("author", UUID),
        ],
        responses=PostListSerializer(many=True),
    )
    def list(self, request: Request, pk: Any) -> Response:
        """The posts of a site without their blocks, newest first; deleted ones only with `state=deleted`."""
        wanted = query_param(request, "state", state)
        posts = self.posts(self.site()).defer("blocks")
        posts = posts.deleted() if wanted == "deleted" else posts.alive()
        if wanted in {"draft", "scheduled", "live"}:
            posts = posts.filter(live=wanted == "live")
            posts = posts if wanted == "live" else posts.filter(published_at__isnull=wanted == "draft")
        if wanted_tag := query_param(request, "tag", tag):
            posts = posts.filter(tags__contains=[wanted_tag])
        if author := query_param(request, "author", UUID):
            posts = posts.filter(author=author)
        return self.get_paginated_response(PostListSerializer(self.paginate_queryset(posts), many=True).data)

    @action_policy(
        scope=SITES_WRITE, role=Role.AUTHOR, recent_proof=False, if_match=False, impersonation=True
    )
    @extend_schema(operation_id="create_post", request=PostCreateSerializer, responses={201: PostSerializer})
    def create(self, request: Request, pk: Any) -> Response:
        """Write a post. Visitors see it from `published_at` on; without one it is a draft."""
        facts = self.validated(PostCreateSerializer)
        site = self.site()
        self.check_scope(facts)
        post = posts_services.create_post(
            site, facts, actor=self.actor, role=Role(site.role), now=timezone.now()
        )
        headers = {"Location": f"/api/v1/sites/{site.pk}/posts/{post.pk}"}
        return versioned(PostSerializer(post).data, post.version, status=201, headers=headers)

    @action_policy(scope=SITES_READ, role=Role.VIEWER, recent_proof=False, if_match=False, impersonation=True)
    @extend_schema(operation_id="post", responses=PostSerializer)
    def retrieve(self, request: Request, pk: Any, post_id: Any) -> Response:
        """One post."""
        post = self.post_of(self.site())
        return versioned(PostSerializer(post).data, post.version)

    @action_policy(scope=SITES_WRITE, role=Role.AUTHOR, recent_proof=False, if_match=True, impersonation=True)
    @extend_schema(
        operation_id="change_post", request=PostWriteSerializer(partial=True), responses=PostSerializer
    )
    def partial_update(self, request: Request, pk: Any, post_id: Any) -> Response:
        """Change a post; visitors see it at once when it is live. `published_at: null` takes it off."""
        facts = self.validated(PostWriteSerializer, partial=True)
        site = self.site()
        post = self.post_of(site)
        self.check_scope(facts, post)
        rights: dict[str, Any] = {"actor": self.actor, "role": Role(site.role), "if_match": if_match(request)}
        post = posts_services.change_post(post, facts, now=timezone.now(), **rights)
        return versioned(PostSerializer(post).data, post.version)

    @action_policy(scope=SITES_WRITE, role=Role.AUTHOR, recent_proof=False, if_match=True, impersonation=True)
    @extend_schema(operation_id="delete_post", responses={204: None})
    def destroy(self, request: Request, pk: Any, post_id: Any) -> Response:
        """Hide a post at once; for 30 days it can be restored."""
        site = self.site()
        post = self.post_of(site)
        self.check_scope({}, post)
        rights: dict[str, Any] = {"actor": self.actor, "role": Role(site.role), "if_match": if_match(request)}
        posts_services.delete_post(post, now=timezone.now(), **rights)
        return Response(status=204)

    @action_policy(
        scope=SITES_WRITE,
        role=Role.AUTHOR,
        recent_proof=False,
        if_match=False,
        impersonation=True,
        body="none",
    )
    @extend_schema(operation_id="restore_post", request=None, responses=PostSerializer)
    def restore(self, request: Request, pk: Any, post_id: Any) -> Response:
        """Bring a deleted post back as it was, published if it was."""
        site = self.site()
        post = self.post_of(site)
        self.check_scope({}, post)
        post = posts_services.restore_post(post, actor=self.actor, role=Role(site.role))
        return versioned(PostSerializer(post).data, post.version)

    def check_scope(self, facts: dict[str, Any], post: Post | None = None) -> None:
        """What changes what visitors see takes the scope for publishing, too. Raises ScopeMissing."""
        scopes = getattr(self.request.auth, "scopes", None)
        published = facts.get("published_at") or (post and post.published_at)
        if published and scopes is not None and SITES_PUBLISH.code not in scopes:
            raise ScopeMissing
