"""What visitors see, over HTTP: publish, plan, take off, roll back; ask for a review; share a preview."""

from datetime import timedelta
from typing import Any

from django.shortcuts import get_object_or_404
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from core.http.action_policy import OPTIONAL, action_policy
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

HEAVY = "revision__blueprint"  # up to 10 MiB, and no list shows it


class PublishingViewSet(SiteScopedViewSet):
    serializer_class = ReleaseSerializer

    @action_policy(
        scope=SITES_PUBLISH, role=Role.EDITOR, recent_proof=False, if_match=OPTIONAL, impersonation=True
    )
    @extend_schema(operation_id="publish_site", request=NoteSerializer, responses={201: ReleaseSerializer})
    def publish(self, request: Request, pk: Any) -> Response:
        """Show the draft to visitors. With If-Match: only if the draft is still that version."""
        site = self.site()
        wanted = if_match(request, required=False)
        release = publishing.publish_site(
            site, actor=self.actor, if_match=wanted, **self.validated(NoteSerializer)
        )
        return Response(shown(release, live=release.pk), status=201)

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
        """Take a site off the web."""
        found = self.site()
        site: Any = publishing.unpublish_site(found, actor=self.actor)
        site.role = found.role
        return versioned(SiteSerializer(site).data, site.version)


def shown(releases: Any, *, live: Any, many: bool = False) -> Any:
    return ReleaseSerializer(releases, many=many, context={"live": live}).data


class ReleaseViewSet(SiteScopedViewSet):
    serializer_class = ReleaseSerializer
    pagination_class = KeysetPagination

    @action_policy(scope=SITES_READ, role=Role.VIEWER, recent_proof=False, if_match=False, impersonation=True)
    @extend_schema(operation_id="list_releases", responses=ReleaseSerializer(many=True))
    def list(self, request: Request, pk: Any) -> Response:
        """What was published, newest first."""
        site = self.site()
        page = self.paginate_queryset(Release.objects.filter(site=site).defer("blueprint"))
        return self.get_paginated_response(shown(page, live=site.live_release_id, many=True))

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
        """Make what was published then the draft. Visitors see it once you publish."""
        site = self.site()
        wanted = if_match(request)
        found = get_object_or_404(Release, site=site, pk=release)
        source = f"release {found.number}"
        draft = drafts.restore_blueprint(
            site, found.blueprint, actor=self.actor, if_match=wanted, source=source
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
        """Show visitors this release again. The draft stays what it is."""
        site = self.site()
        found = get_object_or_404(Release.objects.defer("blueprint"), site=site, pk=release)
        return Response(shown(publishing.roll_back(site, found, actor=self.actor), live=found.pk))


class ScheduleViewSet(SiteScopedViewSet):
    serializer_class = ScheduleSerializer
    pagination_class = KeysetPagination

    @action_policy(scope=SITES_READ, role=Role.VIEWER, recent_proof=False, if_match=False, impersonation=True)
    @extend_schema(operation_id="list_schedules", responses=ScheduleSerializer(many=True))
    def list(self, request: Request, pk: Any) -> Response:
        """Planned changes, and what became of those of the last month."""
        page = self.paginate_queryset(
            Schedule.objects.filter(site=self.site()).select_related("revision").defer(HEAVY)
        )
        return self.get_paginated_response(ScheduleSerializer(page, many=True).data)

    @action_policy(
        scope=SITES_PUBLISH, role=Role.EDITOR, recent_proof=False, if_match=OPTIONAL, impersonation=False
    )
    @extend_schema(
        operation_id="schedule_change", request=ScheduleCreateSerializer, responses={201: ScheduleSerializer}
    )
    def create(self, request: Request, pk: Any) -> Response:
        """Plan a publish of the draft as it is now, or an unpublish.

        With If-Match: only if the draft is that version.
        """
        wanted = {"if_match": if_match(request, required=False), **self.validated(ScheduleCreateSerializer)}
        planned = publishing.schedule_change(self.site(), actor=self.actor, now=timezone.now(), **wanted)
        return Response(ScheduleSerializer(planned).data, status=201)

    @action_policy(
        scope=SITES_PUBLISH, role=Role.EDITOR, recent_proof=False, if_match=False, impersonation=True
    )
    @extend_schema(operation_id="cancel_schedule", responses={204: None})
    def destroy(self, request: Request, pk: Any, schedule: Any) -> Response:
        """Forget a planned change."""
        publishing.cancel_schedule(
            get_object_or_404(Schedule, site=self.site(), pk=schedule), actor=self.actor
        )
        return Response(status=204)


class ReviewViewSet(SiteScopedViewSet):
    serializer_class = ReviewSerializer
    pagination_class = KeysetPagination

    def review(self, site: Site) -> Review:
        return get_object_or_404(Review.objects.select_related("site"), site=site, pk=self.kwargs["review"])

    @action_policy(scope=SITES_READ, role=Role.VIEWER, recent_proof=False, if_match=False, impersonation=True)
    @extend_schema(operation_id="list_reviews", responses=ReviewSerializer(many=True))
    def list(self, request: Request, pk: Any) -> Response:
        """What was asked and answered, newest first."""
        page = self.paginate_queryset(
            Review.objects.filter(site=self.site()).select_related("revision").defer(HEAVY)
        )
        return self.get_paginated_response(ReviewSerializer(page, many=True).data)

    @action_policy(
        scope=SITES_WRITE, role=Role.AUTHOR, recent_proof=False, if_match=OPTIONAL, impersonation=True
    )
    @extend_schema(operation_id="ask_for_review", request=NoteSerializer, responses={201: ReviewSerializer})
    def create(self, request: Request, pk: Any) -> Response:
        """Ask the editors to publish the draft as it is now.

        With If-Match: only if the draft is that version.
        """
        site = self.site()
        wanted = if_match(request, required=False)
        review = reviews.ask_for_review(
            site, actor=self.actor, if_match=wanted, **self.validated(NoteSerializer)
        )
        return Response(ReviewSerializer(review).data, status=201)

    @action_policy(
        scope=SITES_WRITE, role=Role.AUTHOR, recent_proof=False, if_match=False, impersonation=True
    )
    @extend_schema(operation_id="withdraw_review", responses={204: None})
    def destroy(self, request: Request, pk: Any, review: Any) -> Response:
        """Take it back: whoever asked, or an editor."""
        site = self.site()
        found = self.review(site)
        if found.author_id != self.caller.pk and not Role(site.role).reaches(Role.EDITOR):
            raise RoleTooLow
        reviews.withdraw_review(found, actor=self.actor, now=timezone.now())
        return Response(status=204)

    @action_policy(
        scope=SITES_PUBLISH, role=Role.EDITOR, recent_proof=False, if_match=False, impersonation=True
    )
    @extend_schema(
        operation_id="approve_review", request=OptionalCommentSerializer, responses={201: ReleaseSerializer}
    )
    def approve(self, request: Request, pk: Any, review: Any) -> Response:
        """Publish exactly what was asked about, even if the draft has changed since."""
        comment = self.validated(OptionalCommentSerializer)
        release = reviews.approve_review(
            self.review(self.site()), actor=self.actor, now=timezone.now(), **comment
        )
        return Response(shown(release, live=release.pk), status=201)

    @action_policy(
        scope=SITES_PUBLISH, role=Role.EDITOR, recent_proof=False, if_match=False, impersonation=True
    )
    @extend_schema(operation_id="return_review", request=CommentSerializer, responses=ReviewSerializer)
    def send_back(self, request: Request, pk: Any, review: Any) -> Response:
        """Give it back to its author with a comment."""
        comment = self.validated(CommentSerializer)
        found = reviews.return_review(
            self.review(self.site()), actor=self.actor, now=timezone.now(), **comment
        )
        return Response(ReviewSerializer(found).data)


class PreviewViewSet(SiteScopedViewSet):
    serializer_class = PreviewSerializer
    pagination_class = KeysetPagination

    @action_policy(
        scope=SITES_READ, role=Role.AUTHOR, recent_proof=False, if_match=False, impersonation=False
    )
    @extend_schema(operation_id="list_previews", responses=PreviewSerializer(many=True))
    def list(self, request: Request, pk: Any) -> Response:
        """Preview links, newest first, expired ones for a day."""
        site = self.site()
        page = self.paginate_queryset(Preview.objects.filter(site=site))
        return self.get_paginated_response(PreviewSerializer(page, many=True, context={"site": site}).data)

    @action_policy(
        scope=SITES_WRITE, role=Role.AUTHOR, recent_proof=False, if_match=False, impersonation=False
    )
    @extend_schema(
        operation_id="create_preview", request=PreviewCreateSerializer, responses={201: PreviewSerializer}
    )
    def create(self, request: Request, pk: Any) -> Response:
        """A link that shows the draft, or one revision or post, to whoever has it."""
        given = self.validated(PreviewCreateSerializer)
        site = self.site()
        found: dict[str, Any] = {}
        if given.get("revision"):
            found["revision"] = get_object_or_404(Revision, site=site, pk=given["revision"])
        if given.get("post"):
            found["post"] = get_object_or_404(Post.objects.alive(), site=site, pk=given["post"])
        lifetime = timedelta(hours=given["hours"])
        made = previews.create_preview(site, actor=self.actor, now=timezone.now(), lifetime=lifetime, **found)
        headers = {"Cache-Control": "no-store"}
        return Response(PreviewSerializer(made, context={"site": site}).data, status=201, headers=headers)

    @action_policy(
        scope=SITES_WRITE, role=Role.AUTHOR, recent_proof=False, if_match=False, impersonation=True
    )
    @extend_schema(operation_id="revoke_preview", responses={204: None})
    def destroy(self, request: Request, pk: Any, preview: Any) -> Response:
        """The link shows nothing from now on."""
        previews.revoke_preview(get_object_or_404(Preview, site=self.site(), pk=preview), actor=self.actor)
        return Response(status=204)
