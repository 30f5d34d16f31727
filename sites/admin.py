"""Sites and their releases in the admin. Buttons call the services that the API calls."""

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html

from audit import actors
from audit.admin import ReadOnlyAdmin, Watched
from core.admin_site import each
from core.preconditions import IfMatch
from sites import services
from sites.models import Release, Revision, Site
from sites.subdomains import address_of

ANY = IfMatch(None)


@admin.register(Site)
class SiteAdmin(Watched, ReadOnlyAdmin):
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
    actions = ["publish", "unpublish", "hide", "restore"]

    @admin.display(description="address")
    def address(self, site: Site) -> str:
        url = address_of(site.subdomain)
        return format_html('<a href="{}" rel="noopener">{}</a>', url, url) if site.status == Site.Status.LIVE else url

    @admin.display(description="release")
    def release(self, site: Site) -> int | None:
        return site.live_release.number if site.live_release else None

    @admin.action(description="Publish the draft", permissions=["change_state"])
    def publish(self, request: HttpRequest, queryset: QuerySet[Site]) -> None:
        each(
            self,
            request,
            queryset,
            lambda site: services.publish_site(site, actor=actors.staff(request.user), if_match=ANY),
            "Published",
        )

    @admin.action(description="Unpublish", permissions=["change_state"])
    def unpublish(self, request: HttpRequest, queryset: QuerySet[Site]) -> None:
        each(
            self,
            request,
            queryset,
            lambda site: services.unpublish_site(site, actor=actors.staff(request.user)),
            "Unpublished",
        )

    @admin.action(description="Delete (restorable for 30 days)", permissions=["change_state"])
    def hide(self, request: HttpRequest, queryset: QuerySet[Site]) -> None:
        alive = queryset.filter(deleted_at=None)
        each(
            self,
            request,
            alive,
            lambda site: services.delete_site(site, actor=actors.staff(request.user), now=timezone.now(), if_match=ANY),
            "Deleted",
        )

    @admin.action(description="Restore", permissions=["change_state"])
    def restore(self, request: HttpRequest, queryset: QuerySet[Site]) -> None:
        each(
            self,
            request,
            queryset,
            lambda site: services.restore_site(site, actor=actors.staff(request.user)),
            "Restored",
        )

    def has_change_state_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("sites.change_site")


@admin.register(Release)
class ReleaseAdmin(Watched, ReadOnlyAdmin):
    list_display = ("site", "number", "author", "created_at")
    list_filter = ("created_at",)
    list_select_related = ("site", "author")
    search_fields = ("site__name", "site__subdomain", "author__email")
    fields = ("site", "number", "author", "created_at", "blueprint")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Release]:
        return super().get_queryset(request).defer("blueprint")


@admin.register(Revision)
class RevisionAdmin(Watched, ReadOnlyAdmin):
    """Saves of drafts. Bringing one back makes a new save, so nothing is lost."""

    list_display = ("site", "version", "author", "size", "created_at")
    list_filter = ("created_at",)
    list_select_related = ("site", "author")
    search_fields = ("site__name", "site__subdomain", "site__id")
    exclude = ("blueprint",)
    actions = ["make_draft"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Revision]:
        return Revision.objects.defer("blueprint")

    def has_change_state_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("sites.change_revision")

    @admin.action(description="Make it the draft again", permissions=["change_state"])
    def make_draft(self, request: HttpRequest, queryset: QuerySet[Revision]) -> None:
        each(
            self,
            request,
            queryset.select_related("site"),
            lambda revision: services.restore_blueprint(
                revision.site,
                revision.blueprint,
                actor=actors.staff(request.user),
                if_match=ANY,
                source=f"revision {revision.version}",
            ),
            "Brought back",
        )
