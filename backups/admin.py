"""Backups in the admin: a chart, what is wrong, and buttons that call the services that the API calls."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import redirect
from django.template.defaultfilters import filesizeformat
from django.urls import URLPattern, path
from django.utils import timezone

from audit import actors
from audit.admin import ReadOnlyAdmin
from backups import selectors
from backups.models import BackupRun, Check, SiteRestore
from backups.services import checks
from backups.services import runs as runs_services
from core.admin_site import for_each_row

SHOWN = 60  # runs in the chart


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
        """The button above the list."""
        if request.method != "POST" or not self.has_change_state_permission(request):
            return HttpResponseNotAllowed(["POST"])
        runs_services.queue_run(actor=actors.staff(request.user), full="full" in request.POST)
        self.message_user(request, "A backup is queued; it begins within a minute.", level="success")
        return redirect("admin:backups_backuprun_changelist")

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        facts = {
            "chart": chart(),
            "overview": selectors.overview(now=timezone.now()),
            "may_change": self.has_change_state_permission(request),
        }
        return super().changelist_view(request, {**(extra_context or {}), **facts})

    @admin.action(description="Verify what is stored", permissions=["change_state"])
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

    @admin.display(description="took", ordering="seconds")
    def took(self, run: BackupRun) -> str:
        return f"{run.seconds:,.1f} s" if run.seconds else ""

    @admin.display(description="note")
    def note(self, run: BackupRun) -> str:
        return run.error or run.warning or ("deleted by the plan" if run.pruned_at else "")


def chart() -> dict[str, Any]:
    """The newest runs, oldest first: how much each sent, how long it took, whether it is proven; heights in
    per cent of the highest.
    """
    runs = list(reversed(BackupRun.objects.filter(status=BackupRun.Status.DONE).order_by("-id")[:SHOWN]))
    sizes, times = (
        max((getattr(run, name) for run in runs), default=0) or 1 for name in ("shipped_bytes", "seconds")
    )
    bars = [
        {
            "run": run,
            "size": max(1.0, 100 * run.shipped_bytes / sizes),
            "time": max(1.0, 100 * run.seconds / times),
        }
        for run in runs
    ]
    return {"bars": bars, "largest": sizes, "longest": times}


@admin.register(Check)
class CheckAdmin(ReadOnlyAdmin):
    list_display = ("created_at", "kind", "run", "status", "result", "error", "finished_at")
    list_filter = ("kind", "status", "created_at")
    list_select_related = ("run",)
    ordering = ("-id",)


@admin.register(SiteRestore)
class SiteRestoreAdmin(ReadOnlyAdmin):
    list_display = ("created_at", "site_id", "run", "status", "made", "error", "finished_at")
    list_filter = ("status", "created_at")
    list_select_related = ("run", "made")
    search_fields = ("site_id",)
    ordering = ("-id",)
