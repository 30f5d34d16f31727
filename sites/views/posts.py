"""API views of posts."""

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
from sites.viewsets import Role, SiteScopedViewSet, tag_param

POST_STATES = ["draft", "scheduled", "live", "deleted"]


def post_state_param(text: str) -> str:
    """Parse the query parameter `state`. Raises ValueError."""
    if text not in POST_STATES:
        raise ValueError
    return text


class PostViewSet(SiteScopedViewSet):
    serializer_class = PostSerializer
    pagination_class = KeysetPagination
    max_body_bytes = schema.MAX_PAGE_BYTES + 64 * 1024
    filters = ("state", "tag", "author")
    orderings = {"title": Ordering(F("title"), str)}

    def posts(self, site: Site) -> PostQuerySet:
        posts: PostQuerySet = Post.objects.filter(site=site).select_related("site")
        return posts

    def post_of(self, site: Site) -> Post:
        """Return the post of the URL, a deleted one for the action `restore`. Raises Http404."""
        posts = self.posts(site).deleted() if self.action == "restore" else self.posts(site).alive()
        return get_object_or_404(posts, pk=self.kwargs["post_id"])

    @action_policy(
        scope=SITES_READ,
        role=Role.VIEWER,
        recent_proof=False,
        if_match=False,
        impersonation=True,
        cache="site",
    )
    @extend_schema(
        operation_id="list_posts",
        parameters=[
            OpenApiParameter("state", {"type": "string", "enum": POST_STATES}),
            OpenApiParameter("tag", str),
            OpenApiParameter("author", UUID),
        ],
        responses=PostListSerializer(many=True),
    )
    def list(self, request: Request, pk: Any) -> Response:
        """List the posts of a site without their blocks, newest first.

        Deleted posts are listed with `state=deleted` only.
        """
        state = query_param(request, "state", post_state_param)
        posts = self.posts(self.site()).defer("blocks")
        posts = posts.deleted() if state == "deleted" else posts.alive()
        if state == "live":
            posts = posts.filter(live=True)
        elif state in {"draft", "scheduled"}:
            posts = posts.filter(live=False, published_at__isnull=state == "draft")
        if tag := query_param(request, "tag", tag_param):
            posts = posts.filter(tags__contains=[tag])
        if author := query_param(request, "author", UUID):
            posts = posts.filter(author=author)
        return self.get_paginated_response(PostListSerializer(self.paginate_queryset(posts), many=True).data)

    @action_policy(
        scope=SITES_WRITE, role=Role.AUTHOR, recent_proof=False, if_match=False, impersonation=True
    )
    @extend_schema(operation_id="create_post", request=PostCreateSerializer, responses={201: PostSerializer})
    def create(self, request: Request, pk: Any) -> Response:
        """Create a post. Visitors see it from `published_at` on; without one it is a draft."""
        validated_data = self.validated(PostCreateSerializer)
        site = self.site()
        self.check_publish_scope(validated_data)
        post = posts_services.create_post(
            site, validated_data, actor=self.actor, role=Role(site.role), now=timezone.now()
        )
        headers = {"Location": f"/api/v1/sites/{site.pk}/posts/{post.pk}"}
        return versioned(PostSerializer(post).data, post.version, status=201, headers=headers)

    @action_policy(
        scope=SITES_READ,
        role=Role.VIEWER,
        recent_proof=False,
        if_match=False,
        impersonation=True,
        cache="site",
    )
    @extend_schema(operation_id="post", responses=PostSerializer)
    def retrieve(self, request: Request, pk: Any, post_id: Any) -> Response:
        """Return one post with its blocks."""
        post = self.post_of(self.site())
        return versioned(PostSerializer(post).data, post.version)

    @action_policy(scope=SITES_WRITE, role=Role.AUTHOR, recent_proof=False, if_match=True, impersonation=True)
    @extend_schema(
        operation_id="change_post", request=PostWriteSerializer(partial=True), responses=PostSerializer
    )
    def partial_update(self, request: Request, pk: Any, post_id: Any) -> Response:
        """Change a post. Visitors see the change at once when the post is live.

        `published_at: null` makes it a draft again.
        """
        changes = self.validated(PostWriteSerializer, partial=True)
        site = self.site()
        post = self.post_of(site)
        self.check_publish_scope(changes, post)
        post = posts_services.change_post(
            post,
            changes,
            actor=self.actor,
            role=Role(site.role),
            if_match=if_match(request),
            now=timezone.now(),
        )
        return versioned(PostSerializer(post).data, post.version)

    @action_policy(scope=SITES_WRITE, role=Role.AUTHOR, recent_proof=False, if_match=True, impersonation=True)
    @extend_schema(operation_id="delete_post", responses={204: None})
    def destroy(self, request: Request, pk: Any, post_id: Any) -> Response:
        """Delete a post. It can be restored for 30 days."""
        site = self.site()
        post = self.post_of(site)
        self.check_publish_scope({}, post)
        posts_services.delete_post(
            post,
            actor=self.actor,
            role=Role(site.role),
            if_match=if_match(request),
            now=timezone.now(),
        )
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
        """Restore a deleted post. It is published again if it was."""
        site = self.site()
        post = self.post_of(site)
        self.check_publish_scope({}, post)
        post = posts_services.restore_post(post, actor=self.actor, role=Role(site.role))
        return versioned(PostSerializer(post).data, post.version)

    def check_publish_scope(self, changes: dict[str, Any], post: Post | None = None) -> None:
        """Raises ScopeMissing when an API key without `sites.publish` would change what visitors see."""
        scopes = getattr(self.request.auth, "scopes", None)
        is_published = changes.get("published_at") or (post and post.published_at)
        if is_published and scopes is not None and SITES_PUBLISH.code not in scopes:
            raise ScopeMissing
