"""Backups in the admin: a chart, warnings, and actions that call the same services as the API."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import redirect
from django.template.defaultfilters import filesizeformat
from django.urls import URLPattern, path
from django.utils import timezone

from audit import actors
from audit.model_admin import ReadOnlyAdmin
from backups import selectors
from backups.models import BackupRun, Check, SiteRestore
from backups.services import checks
from backups.services import runs as runs_services
from core.admin_site import for_each_row
from sites.models import Site

MAX_CHART_RUNS = 60


@admin.register(BackupRun)
class BackupRunAdmin(ReadOnlyAdmin):
    change_list_template = "admin/backups.html"
    list_display = ("created_at", "status", "kind", "sent", "stored", "took", "chain", "proven_at", "note")
    list_filter = ("status", "kind", "created_at")
    search_fields = ("id",)
    ordering = ("-id",)
    actions = ["verify", "prove"]

    def has_change_state_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("backups.change_backuprun")

    def get_urls(self) -> list[URLPattern]:
        now = path("now/", self.admin_site.admin_view(self.now_view), name="backups_backuprun_now")
        return [now, *super().get_urls()]

    def now_view(self, request: HttpRequest) -> HttpResponse:
        """Queue a backup. The buttons above the list post to this view."""
        if request.method != "POST" or not self.has_change_state_permission(request):
            return HttpResponseNotAllowed(["POST"])
        runs_services.queue_run(actor=actors.staff(request.user), full="full" in request.POST)
        self.message_user(request, "A backup is queued. It starts within a minute.", level="success")
        return redirect("admin:backups_backuprun_changelist")

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        context = {
            "chart": chart(),
            "overview": selectors.backup_overview(now=timezone.now()),
            "may_change": self.has_change_state_permission(request),
        }
        return super().changelist_view(request, {**(extra_context or {}), **context})

    @admin.action(description="Verify the stored backup", permissions=["change_state"])
    def verify(self, request: HttpRequest, queryset: QuerySet[BackupRun]) -> None:
        self._queue(request, queryset, Check.Kind.VERIFY)

    @admin.action(description="Prove by restoring", permissions=["change_state"])
    def prove(self, request: HttpRequest, queryset: QuerySet[BackupRun]) -> None:
        self._queue(request, queryset, Check.Kind.DRILL)

    def _queue(self, request: HttpRequest, queryset: QuerySet[BackupRun], kind: str) -> None:
        for_each_row(
            self,
            request,
            queryset,
            lambda run: checks.queue_check(run, kind, actor=actors.staff(request.user)),
            "queued",
        )

    @admin.display(description="sent", ordering="shipped_bytes")
    def sent(self, run: BackupRun) -> str:
        return filesizeformat(run.shipped_bytes)

    @admin.display(description="stored", ordering="stored_bytes")
    def stored(self, run: BackupRun) -> str:
        return filesizeformat(run.stored_bytes)

    @admin.display(description="duration", ordering="seconds")
    def took(self, run: BackupRun) -> str:
        return f"{run.seconds:,.1f} s" if run.seconds else ""

    @admin.display(description="note")
    def note(self, run: BackupRun) -> str:
        return run.error or run.warning or ("deleted by the retention policy" if run.pruned_at else "")


def chart() -> dict[str, Any]:
    """Return the newest runs, oldest first, with bar heights in per cent of the largest run. One query.

    `size` is what a run sent, `time` is how long it took.
    """
    newest_first = BackupRun.objects.filter(status=BackupRun.Status.DONE).order_by("-id")[:MAX_CHART_RUNS]
    runs = list(reversed(newest_first))
    largest_bytes = max((run.shipped_bytes for run in runs), default=0) or 1
    longest_seconds = max((run.seconds for run in runs), default=0) or 1
    bars = [
        {
            "run": run,
            "size": max(1.0, 100 * run.shipped_bytes / largest_bytes),
            "time": max(1.0, 100 * run.seconds / longest_seconds),
        }
        for run in runs
    ]
    return {"bars": bars, "largest": largest_bytes, "longest": longest_seconds}


@admin.register(Check)
class CheckAdmin(ReadOnlyAdmin):
    list_display = ("created_at", "kind", "run", "status", "result", "error", "finished_at")
    list_filter = ("kind", "status", "created_at")
    list_select_related = ("run",)
    ordering = ("-id",)


@admin.register(SiteRestore)
class SiteRestoreAdmin(ReadOnlyAdmin):
    list_display = ("created_at", "site_id", "run", "status", "restored_site", "error", "finished_at")
    list_filter = ("status", "created_at")
    list_select_related = ("run", "made")
    search_fields = ("site_id",)
    ordering = ("-id",)

    @admin.display(description="restored site", ordering="made")
    def restored_site(self, restore: SiteRestore) -> Site | None:
        return restore.made
