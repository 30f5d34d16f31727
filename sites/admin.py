"""Admin pages of sites, their members, drafts, releases and posts.

Pages are read-only. Actions call the same services as the API.
"""

from datetime import datetime

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html

from audit import actors
from audit.model_admin import AuditedAdmin, ReadOnlyAdmin
from core.admin_site import for_each_row
from core.http.preconditions import ANY_VERSION
from sites.models import Access, Invitation, Post, Preview, Release, Review, Revision, Schedule, Site
from sites.services import drafts, members, posts, previews, publishing, reviews, sites
from sites.subdomains import address_of

OWNER = Access.Role.OWNER
BY_SITE_OR_AUTHOR = ("site__name", "site__subdomain", "author__email")


class ServiceAdmin(AuditedAdmin, ReadOnlyAdmin):
    """A read-only page with actions, which require the permission `sites.change_<model>`."""

    def has_change_state_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(f"sites.change_{self.opts.model_name}")


@admin.register(Site)
class SiteAdmin(ServiceAdmin):
    list_display = ("name", "address", "owner", "status", "release", "updated_at", "deleted_at")
    list_filter = ("status", ("deleted_at", admin.EmptyFieldListFilter), "created_at")
    list_select_related = ("owner", "live_release")
    search_fields = ("name", "subdomain", "owner__email", "id")
    ordering = ("-id",)
    fields = (
        "id",
        "name",
        "subdomain",
        "address",
        "owner",
        "status",
        "release",
        "version",
        "created_at",
        "updated_at",
        "deleted_at",
    )
    actions = ["publish", "unpublish", "soft_delete", "restore"]

    @admin.display(description="address")
    def address(self, site: Site) -> str:
        url = address_of(site.subdomain)
        return (
            format_html('<a href="{}" rel="noopener">{}</a>', url, url)
            if site.status == Site.Status.LIVE
            else url
        )

    @admin.display(description="release")
    def release(self, site: Site) -> int | None:
        return site.live_release.number if site.live_release else None

    @admin.action(description="Publish the draft", permissions=["change_state"])
    def publish(self, request: HttpRequest, queryset: QuerySet[Site]) -> None:
        for_each_row(
            self,
            request,
            queryset,
            lambda site: publishing.publish_site(
                site, actor=actors.staff(request.user), if_match=ANY_VERSION
            ),
            "Published",
        )

    @admin.action(description="Unpublish", permissions=["change_state"])
    def unpublish(self, request: HttpRequest, queryset: QuerySet[Site]) -> None:
        for_each_row(
            self,
            request,
            queryset,
            lambda site: publishing.unpublish_site(site, actor=actors.staff(request.user)),
            "Unpublished",
        )

    @admin.action(description="Delete (restorable for 30 days)", permissions=["change_state"])
    def soft_delete(self, request: HttpRequest, queryset: QuerySet[Site]) -> None:
        for_each_row(
            self,
            request,
            queryset.filter(deleted_at=None),
            lambda site: sites.delete_site(
                site, actor=actors.staff(request.user), now=timezone.now(), if_match=ANY_VERSION
            ),
            "Deleted",
        )

    @admin.action(description="Restore", permissions=["change_state"])
    def restore(self, request: HttpRequest, queryset: QuerySet[Site]) -> None:
        for_each_row(
            self,
            request,
            queryset,
            lambda site: sites.restore_site(site, actor=actors.staff(request.user)),
            "Restored",
        )


@admin.register(Release)
class ReleaseAdmin(ServiceAdmin):
    list_display = ("site", "number", "note", "author", "is_live", "created_at")
    list_filter = ("created_at",)
    list_select_related = ("site", "author")
    search_fields = ("site__name", "site__subdomain", "author__email")
    fields = ("site", "number", "note", "author", "is_live", "created_at", "blueprint")
    actions = ["roll_back"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Release]:
        return super().get_queryset(request).defer("blueprint")

    @admin.display(description="live", boolean=True)
    def is_live(self, release: Release) -> bool:
        return release.site.live_release_id == release.pk

    @admin.action(description="Show visitors this release again", permissions=["change_state"])
    def roll_back(self, request: HttpRequest, queryset: QuerySet[Release]) -> None:
        actor = actors.staff(request.user)
        for_each_row(
            self,
            request,
            queryset,
            lambda row: publishing.roll_back_to_release(row.site, row, actor=actor),
            "Rolled back to",
        )


@admin.register(Revision)
class RevisionAdmin(ServiceAdmin):
    """Saves of drafts. Restoring one is a new save, so the current draft stays a revision."""

    list_display = ("site", "version", "author", "size", "created_at")
    list_filter = ("created_at",)
    list_select_related = ("site", "author")
    search_fields = ("site__name", "site__subdomain", "site__id")
    exclude = ("blueprint",)
    actions = ["restore_as_draft"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Revision]:
        return Revision.objects.defer("blueprint")

    @admin.action(description="Restore as the draft", permissions=["change_state"])
    def restore_as_draft(self, request: HttpRequest, queryset: QuerySet[Revision]) -> None:
        for_each_row(
            self,
            request,
            queryset.select_related("site"),
            lambda revision: drafts.restore_blueprint(
                revision.site,
                revision.blueprint,
                actor=actors.staff(request.user),
                if_match=ANY_VERSION,
                source=f"revision {revision.version}",
            ),
            "Restored",
        )


@admin.register(Access)
class AccessAdmin(ServiceAdmin):
    """Members of sites and their roles."""

    list_display = ("user", "role", "site", "created_at")
    list_filter = ("role", "created_at")
    list_select_related = ("site", "user")
    search_fields = ("user__email", "site__name", "site__subdomain")
    ordering = ("-id",)
    fields = ("user", "role", "site", "created_at")
    actions = ["remove"]

    def subject_of(self, obj: Access) -> Site:
        return obj.site

    @admin.action(description="Remove from the site", permissions=["change_state"])
    def remove(self, request: HttpRequest, queryset: QuerySet[Access]) -> None:
        actor = actors.staff(request.user)
        for_each_row(
            self,
            request,
            queryset,
            lambda row: members.remove_member(row.site, row.user_id, actor=actor),
            "Removed",
        )


@admin.register(Invitation)
class InvitationAdmin(ServiceAdmin):
    list_display = ("email", "role", "site", "author", "created_at", "expires_at", "used_at")
    list_filter = ("role", ("used_at", admin.EmptyFieldListFilter), "created_at")
    list_select_related = ("site", "author")
    search_fields = ("email", "site__name", "site__subdomain")
    fields = list_display
    actions = ["withdraw"]

    @admin.action(description="Withdraw", permissions=["change_state"])
    def withdraw(self, request: HttpRequest, queryset: QuerySet[Invitation]) -> None:
        actor = actors.staff(request.user)
        now = timezone.now()
        for_each_row(
            self,
            request,
            queryset,
            lambda row: members.withdraw_invitation(row, actor=actor, now=now),
            "Withdrew",
        )


@admin.register(Schedule)
class ScheduleAdmin(ServiceAdmin):
    list_display = ("site", "action_name", "scheduled_for", "status", "author", "note", "error")
    list_filter = ("act", "status", "at")
    list_select_related = ("site", "author")
    search_fields = BY_SITE_OR_AUTHOR
    fields = ("site", "act", "at", "revision", "note", "author", "status", "attempts", "error", "created_at")
    actions = ["cancel"]

    @admin.display(description="action", ordering="act")
    def action_name(self, schedule: Schedule) -> str:
        return schedule.get_act_display()

    @admin.display(description="scheduled for", ordering="at")
    def scheduled_for(self, schedule: Schedule) -> datetime:
        return schedule.at

    @admin.action(description="Cancel", permissions=["change_state"])
    def cancel(self, request: HttpRequest, queryset: QuerySet[Schedule]) -> None:
        actor = actors.staff(request.user)
        for_each_row(
            self, request, queryset, lambda row: publishing.cancel_schedule(row, actor=actor), "Cancelled"
        )


@admin.register(Review)
class ReviewAdmin(ServiceAdmin):
    list_display = ("site", "status", "author", "note", "editor", "answered_at")
    list_filter = ("status", "created_at")
    search_fields = BY_SITE_OR_AUTHOR
    list_select_related = ("site", "author", "editor")
    fields = (
        "site",
        "status",
        "revision",
        "author",
        "note",
        "editor",
        "comment",
        "created_at",
        "answered_at",
    )
    actions = ["approve", "withdraw"]

    @admin.action(description="Approve and publish", permissions=["change_state"])
    def approve(self, request: HttpRequest, queryset: QuerySet[Review]) -> None:
        actor = actors.staff(request.user)
        now = timezone.now()
        for_each_row(
            self,
            request,
            queryset,
            lambda row: reviews.approve_review(row, actor=actor, now=now),
            "Approved",
        )

    @admin.action(description="Withdraw", permissions=["change_state"])
    def withdraw(self, request: HttpRequest, queryset: QuerySet[Review]) -> None:
        actor = actors.staff(request.user)
        now = timezone.now()
        for_each_row(
            self,
            request,
            queryset,
            lambda row: reviews.withdraw_review(row, actor=actor, now=now),
            "Withdrew",
        )


@admin.register(Preview)
class PreviewAdmin(ServiceAdmin):
    """Preview links. Their URLs are not displayed, because anyone who has one sees unpublished content."""

    list_display = ("site", "author", "content", "created_at", "expires_at")
    list_filter = ("created_at", "expires_at")
    search_fields = BY_SITE_OR_AUTHOR
    list_select_related = ("site", "author", "revision", "post")
    fields = ("site", "author", "content", "created_at", "expires_at")
    actions = ["revoke"]

    @admin.display(description="content")
    def content(self, preview: Preview) -> str:
        return str(preview.post or preview.revision or "the draft")

    @admin.action(description="Revoke", permissions=["change_state"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[Preview]) -> None:
        actor = actors.staff(request.user)
        for_each_row(
            self, request, queryset, lambda row: previews.revoke_preview(row, actor=actor), "Revoked"
        )


@admin.register(Post)
class PostAdmin(ServiceAdmin):
    list_display = ("title", "site", "author", "live", "published_at", "updated_at", "deleted_at")
    list_filter = ("live", ("deleted_at", admin.EmptyFieldListFilter), "published_at")
    list_select_related = ("site", "author")
    search_fields = ("title", "slug", "site__name", "site__subdomain", "author__email")
    fields = (
        "id",
        "title",
        "slug",
        "site",
        "author",
        "excerpt",
        "tags",
        "blocks",
        "live",
        "published_at",
        "version",
        "created_at",
        "updated_at",
        "deleted_at",
    )
    actions = ["unpublish", "soft_delete", "restore"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Post]:
        return super().get_queryset(request).defer("blocks")

    @admin.action(description="Unpublish (make it a draft again)", permissions=["change_state"])
    def unpublish(self, request: HttpRequest, queryset: QuerySet[Post]) -> None:
        actor = actors.staff(request.user)
        now = timezone.now()
        for_each_row(
            self,
            request,
            queryset,
            lambda row: posts.change_post(
                row, {"published_at": None}, actor=actor, role=OWNER, if_match=ANY_VERSION, now=now
            ),
            "Unpublished",
        )

    @admin.action(description="Delete (restorable for 30 days)", permissions=["change_state"])
    def soft_delete(self, request: HttpRequest, queryset: QuerySet[Post]) -> None:
        actor = actors.staff(request.user)
        now = timezone.now()
        for_each_row(
            self,
            request,
            queryset.filter(deleted_at=None),
            lambda row: posts.delete_post(row, actor=actor, role=OWNER, if_match=ANY_VERSION, now=now),
            "Deleted",
        )

    @admin.action(description="Restore", permissions=["change_state"])
    def restore(self, request: HttpRequest, queryset: QuerySet[Post]) -> None:
        actor = actors.staff(request.user)
        for_each_row(
            self,
            request,
            queryset,
            lambda row: posts.restore_post(row, actor=actor, role=OWNER),
            "Restored",
        )
