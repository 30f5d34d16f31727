"""API views of releases, schedules, reviews and previews."""

from datetime import timedelta
from typing import Any

from django.shortcuts import get_object_or_404
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from core.http.action_policy import IF_MATCH_OPTIONAL, action_policy
from core.http.pagination import KeysetPagination
from core.http.preconditions import if_match
from core.http.responses import versioned
from sites.errors import RoleTooLow
from sites.models import Post, Preview, Release, Review, Revision, Schedule, Site
from sites.permissions import SITES_PUBLISH, SITES_READ, SITES_WRITE
from sites.serializers.publishing import (
    CommentSerializer,
    NoteSerializer,
    OptionalCommentSerializer,
    PreviewCreateSerializer,
    PreviewSerializer,
    ReleaseSerializer,
    ReviewSerializer,
    ScheduleCreateSerializer,
    ScheduleSerializer,
)
from sites.serializers.sites import SiteSerializer
from sites.services import drafts, previews, publishing, reviews
from sites.viewsets import DOCUMENT, Role, SiteScopedViewSet

REVISION_BLUEPRINT = "revision__blueprint"  # deferred in lists: it has up to 10 MiB and is not shown


class PublishingViewSet(SiteScopedViewSet):
    serializer_class = ReleaseSerializer

    @action_policy(
        scope=SITES_PUBLISH,
        role=Role.EDITOR,
        recent_proof=False,
        if_match=IF_MATCH_OPTIONAL,
        impersonation=True,
    )
    @extend_schema(operation_id="publish_site", request=NoteSerializer, responses={201: ReleaseSerializer})
    def publish(self, request: Request, pk: Any) -> Response:
        """Publish the draft. With If-Match: only if the draft still has that version."""
        site = self.site()
        precondition = if_match(request, required=False)
        release = publishing.publish_site(
            site, actor=self.actor, if_match=precondition, **self.validated(NoteSerializer)
        )
        return Response(release_data(release, live=release.pk), status=201)

    @action_policy(
        scope=SITES_PUBLISH,
        role=Role.EDITOR,
        recent_proof=False,
        if_match=False,
        impersonation=True,
        body="none",
    )
    @extend_schema(operation_id="unpublish_site", request=None, responses=SiteSerializer)
    def unpublish(self, request: Request, pk: Any) -> Response:
        """Unpublish a site. Visitors do not see it any more; its releases stay."""
        site = self.site()
        unpublished_site: Any = publishing.unpublish_site(site, actor=self.actor)
        unpublished_site.role = site.role
        return versioned(SiteSerializer(unpublished_site).data, unpublished_site.version)


def release_data(releases: Any, *, live: Any, many: bool = False) -> Any:
    """Serialize one release, or several with `many`. `live` is the id of the live release, or None."""
    return ReleaseSerializer(releases, many=many, context={"live": live}).data


class ReleaseViewSet(SiteScopedViewSet):
    serializer_class = ReleaseSerializer
    pagination_class = KeysetPagination

    @action_policy(
        scope=SITES_READ,
        role=Role.VIEWER,
        recent_proof=False,
        if_match=False,
        impersonation=True,
        cache="site",
    )
    @extend_schema(operation_id="list_releases", responses=ReleaseSerializer(many=True))
    def list(self, request: Request, pk: Any) -> Response:
        """List the releases, newest first."""
        site = self.site()
        page = self.paginate_queryset(Release.objects.filter(site=site).defer("blueprint"))
        return self.get_paginated_response(release_data(page, live=site.live_release_id, many=True))

    @action_policy(
        scope=SITES_WRITE,
        role=Role.AUTHOR,
        recent_proof=False,
        if_match=True,
        impersonation=True,
        body="none",
    )
    @extend_schema(operation_id="restore_release", request=None, responses={200: DOCUMENT})
    def restore(self, request: Request, pk: Any, release: Any) -> Response:
        """Replace the draft with the blueprint of this release. Visitors see it after the next publish."""
        site = self.site()
        precondition = if_match(request)
        earlier_release = get_object_or_404(Release, site=site, pk=release)
        draft = drafts.restore_blueprint(
            site,
            earlier_release.blueprint,
            actor=self.actor,
            if_match=precondition,
            source=f"release {earlier_release.number}",
        )
        return versioned(draft.blueprint, draft.version)

    @action_policy(
        scope=SITES_PUBLISH,
        role=Role.EDITOR,
        recent_proof=False,
        if_match=False,
        impersonation=True,
        body="none",
    )
    @extend_schema(operation_id="roll_back_to_release", request=None, responses=ReleaseSerializer)
    def publish(self, request: Request, pk: Any, release: Any) -> Response:
        """Show visitors this release again. The draft does not change."""
        site = self.site()
        earlier_release = get_object_or_404(Release.objects.defer("blueprint"), site=site, pk=release)
        live_release = publishing.roll_back_to_release(site, earlier_release, actor=self.actor)
        return Response(release_data(live_release, live=live_release.pk))


class ScheduleViewSet(SiteScopedViewSet):
    serializer_class = ScheduleSerializer
    pagination_class = KeysetPagination

    @action_policy(scope=SITES_READ, role=Role.VIEWER, recent_proof=False, if_match=False, impersonation=True)
    @extend_schema(operation_id="list_schedules", responses=ScheduleSerializer(many=True))
    def list(self, request: Request, pk: Any) -> Response:
        """List the scheduled changes, with the finished ones of the last 30 days."""
        page = self.paginate_queryset(
            Schedule.objects.filter(site=self.site()).select_related("revision").defer(REVISION_BLUEPRINT)
        )
        return self.get_paginated_response(ScheduleSerializer(page, many=True).data)

    # Not while impersonating: the change would happen after the impersonation has ended.
    @action_policy(
        scope=SITES_PUBLISH,
        role=Role.EDITOR,
        recent_proof=False,
        if_match=IF_MATCH_OPTIONAL,
        impersonation=False,
    )
    @extend_schema(
        operation_id="schedule_change", request=ScheduleCreateSerializer, responses={201: ScheduleSerializer}
    )
    def create(self, request: Request, pk: Any) -> Response:
        """Schedule an unpublish, or a publish of the draft in its current version.

        With If-Match: only if the draft still has that version.
        """
        precondition = if_match(request, required=False)
        validated_data = self.validated(ScheduleCreateSerializer)
        schedule = publishing.schedule_change(
            self.site(), actor=self.actor, if_match=precondition, now=timezone.now(), **validated_data
        )
        return Response(ScheduleSerializer(schedule).data, status=201)

    @action_policy(
        scope=SITES_PUBLISH, role=Role.EDITOR, recent_proof=False, if_match=False, impersonation=False
    )
    @extend_schema(operation_id="cancel_schedule", responses={204: None})
    def destroy(self, request: Request, pk: Any, schedule: Any) -> Response:
        """Cancel a scheduled change."""
        publishing.cancel_schedule(
            get_object_or_404(Schedule, site=self.site(), pk=schedule), actor=self.actor
        )
        return Response(status=204)


class ReviewViewSet(SiteScopedViewSet):
    serializer_class = ReviewSerializer
    pagination_class = KeysetPagination

    def review(self, site: Site) -> Review:
        """Return the review of the URL. Raises Http404."""
        return get_object_or_404(Review.objects.select_related("site"), site=site, pk=self.kwargs["review"])

    @action_policy(scope=SITES_READ, role=Role.VIEWER, recent_proof=False, if_match=False, impersonation=True)
    @extend_schema(operation_id="list_reviews", responses=ReviewSerializer(many=True))
    def list(self, request: Request, pk: Any) -> Response:
        """List the reviews, newest first."""
        page = self.paginate_queryset(
            Review.objects.filter(site=self.site()).select_related("revision").defer(REVISION_BLUEPRINT)
        )
        return self.get_paginated_response(ReviewSerializer(page, many=True).data)

    @action_policy(
        scope=SITES_WRITE,
        role=Role.AUTHOR,
        recent_proof=False,
        if_match=IF_MATCH_OPTIONAL,
        impersonation=True,
    )
    @extend_schema(operation_id="ask_for_review", request=NoteSerializer, responses={201: ReviewSerializer})
    def create(self, request: Request, pk: Any) -> Response:
        """Ask the editors to publish the draft in its current version.

        With If-Match: only if the draft still has that version.
        """
        site = self.site()
        precondition = if_match(request, required=False)
        review = reviews.request_review(
            site, actor=self.actor, if_match=precondition, **self.validated(NoteSerializer)
        )
        return Response(ReviewSerializer(review).data, status=201)

    @action_policy(
        scope=SITES_WRITE, role=Role.AUTHOR, recent_proof=False, if_match=False, impersonation=True
    )
    @extend_schema(operation_id="withdraw_review", responses={204: None})
    def destroy(self, request: Request, pk: Any, review: Any) -> Response:
        """Withdraw a review. Its author and the editors may do this."""
        site = self.site()
        open_review = self.review(site)
        is_author = open_review.author_id == self.caller.pk
        if not is_author and not Role(site.role).at_least(Role.EDITOR):
            raise RoleTooLow
        reviews.withdraw_review(open_review, actor=self.actor, now=timezone.now())
        return Response(status=204)

    @action_policy(
        scope=SITES_PUBLISH, role=Role.EDITOR, recent_proof=False, if_match=False, impersonation=True
    )
    @extend_schema(
        operation_id="approve_review", request=OptionalCommentSerializer, responses={201: ReleaseSerializer}
    )
    def approve(self, request: Request, pk: Any, review: Any) -> Response:
        """Publish the reviewed version of the draft, even if the draft has changed since."""
        validated_data = self.validated(OptionalCommentSerializer)
        release = reviews.approve_review(
            self.review(self.site()), actor=self.actor, now=timezone.now(), **validated_data
        )
        return Response(release_data(release, live=release.pk), status=201)

    @action_policy(
        scope=SITES_PUBLISH, role=Role.EDITOR, recent_proof=False, if_match=False, impersonation=True
    )
    @extend_schema(operation_id="return_review", request=CommentSerializer, responses=ReviewSerializer)
    def send_back(self, request: Request, pk: Any, review: Any) -> Response:
        """Close a review without publishing and send the comment to its author."""
        validated_data = self.validated(CommentSerializer)
        returned_review = reviews.return_review(
            self.review(self.site()), actor=self.actor, now=timezone.now(), **validated_data
        )
        return Response(ReviewSerializer(returned_review).data)


class PreviewViewSet(SiteScopedViewSet):
    serializer_class = PreviewSerializer
    pagination_class = KeysetPagination

    # Not while impersonating: the link would work after the impersonation has ended.
    @action_policy(
        scope=SITES_READ, role=Role.AUTHOR, recent_proof=False, if_match=False, impersonation=False
    )
    @extend_schema(operation_id="list_previews", responses=PreviewSerializer(many=True))
    def list(self, request: Request, pk: Any) -> Response:
        """List the preview links, newest first, with those that expired within the last day."""
        site = self.site()
        page = self.paginate_queryset(Preview.objects.filter(site=site))
        return self.get_paginated_response(PreviewSerializer(page, many=True, context={"site": site}).data)

    # Not while impersonating: the link would work after the impersonation has ended.
    @action_policy(
        scope=SITES_WRITE, role=Role.AUTHOR, recent_proof=False, if_match=False, impersonation=False
    )
    @extend_schema(
        operation_id="create_preview", request=PreviewCreateSerializer, responses={201: PreviewSerializer}
    )
    def create(self, request: Request, pk: Any) -> Response:
        """Create a link that shows the draft, one revision or one post without signing in."""
        validated_data = self.validated(PreviewCreateSerializer)
        site = self.site()
        revision = None
        if validated_data.get("revision"):
            revision = get_object_or_404(Revision, site=site, pk=validated_data["revision"])
        post = None
        if validated_data.get("post"):
            post = get_object_or_404(Post.objects.alive(), site=site, pk=validated_data["post"])
        preview = previews.create_preview(
            site,
            actor=self.actor,
            now=timezone.now(),
            lifetime=timedelta(hours=validated_data["hours"]),
            revision=revision,
            post=post,
        )
        headers = {"Cache-Control": "no-store"}
        return Response(PreviewSerializer(preview, context={"site": site}).data, status=201, headers=headers)

    @action_policy(
        scope=SITES_WRITE, role=Role.AUTHOR, recent_proof=False, if_match=False, impersonation=False
    )
    @extend_schema(operation_id="revoke_preview", responses={204: None})
    def destroy(self, request: Request, pk: Any, preview: Any) -> Response:
        """Revoke a preview link. It stops working at once."""
        previews.revoke_preview(get_object_or_404(Preview, site=self.site(), pk=preview), actor=self.actor)
        return Response(status=204)
