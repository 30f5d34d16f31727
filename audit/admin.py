"""Admin pages of the audit trail, with a chart and a button that verifies it, and of the server log."""

from collections import Counter
from datetime import datetime, timedelta
from typing import Any

from django.contrib import admin
from django.db.models import Count, OuterRef, QuerySet, Subquery
from django.db.models.functions import TruncDay, TruncHour
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import redirect
from django.urls import URLPattern, path
from django.utils import timezone

from audit import actors
from audit.chain.verification import verify_trail
from audit.model_admin import ReadOnlyAdmin
from audit.models import Entry, LogLine, Personal
from audit.selectors import MAX_SEARCHED_ENTRIES, search_entries
from audit.services import record
from audit.subjects import Subject


@admin.register(Entry)
class EntryAdmin(ReadOnlyAdmin):
    change_list_template = "admin/audit_timeline.html"
    list_display = ("created_at", "event", "actor_display", "subject_display", "details", "request_id")
    list_filter = ("actor_kind", "created_at")
    search_fields = ("event",)
    search_help_text = f"Event, detail or personal value of the newest {MAX_SEARCHED_ENTRIES:,} entries."
    ordering = ("-id",)
    show_full_result_count = False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Entry]:
        value = Personal.objects.filter(entry_id=OuterRef("pk")).values("value")
        entries: QuerySet[Entry] = super().get_queryset(request)
        entries = entries.annotate(
            actor_label=Subquery(value.filter(field="actor")[:1]),
            subject_label=Subquery(value.filter(field="label")[:1]),
        )
        return entries  # noqa: RET504 - the name carries the type

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Entry], search_term: str
    ) -> tuple[QuerySet[Entry], bool]:
        return (search_entries(queryset, search_term), False) if search_term else (queryset, False)

    @admin.display(description="actor")
    def actor_display(self, entry: Any) -> str:
        return f"{entry.actor_kind} {entry.actor_label or entry.actor_id or ''}".strip()

    @admin.display(description="subject")
    def subject_display(self, entry: Any) -> str:
        return f"{entry.subject_type} {entry.subject_label or entry.subject_id or ''}".strip()

    @admin.display(description="details", ordering="facts")
    def details(self, entry: Entry) -> str:
        return entry.facts

    def get_urls(self) -> list[URLPattern]:
        verify_url = path("verify/", self.admin_site.admin_view(self.verify_view), name="audit_entry_verify")
        return [verify_url, *super().get_urls()]

    def verify_view(self, request: HttpRequest) -> HttpResponse:
        """Verify the whole trail and show the result above the list."""
        if request.method != "POST" or not self.has_view_permission(request):
            return HttpResponseNotAllowed(["POST"])
        result = verify_trail(now=timezone.now())
        proven = result.good and not result.nothing_verified
        record("audit.verified", actor=actors.staff(request.user), subject=Subject("audit"), good=proven)
        if result.nothing_verified:
            message = "Nothing was verified: the audit trail has no sealed entry yet."
        elif result.good:
            message = (
                f"The audit trail is intact: {result.rows} entries, {result.checkpoints} checkpoints, "
                f"{result.erased} values erased."
            )
        else:
            message = f"The audit trail is damaged: {result.fault}"
        self.message_user(request, message, level="success" if proven else "error")
        return redirect("admin:audit_entry_changelist")

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        hourly = request.GET.get("chart") != "day"
        return super().changelist_view(
            request, {**(extra_context or {}), "chart": timeline_chart(hourly=hourly), "hourly": hourly}
        )


def timeline_chart(*, hourly: bool) -> dict[str, Any]:
    """Return the numbers of entries in each of the last 24 hours or 30 days, for the admin template.

    `bars` holds every hour or day, oldest first, with its entries stacked by kind (the first part of the
    event name); heights are per cent of the highest bar. `legend` holds the color and the total of each kind.
    """
    step, bar_count, truncate = (
        (timedelta(hours=1), 24, TruncHour) if hourly else (timedelta(days=1), 30, TruncDay)
    )
    now = timezone.now().replace(minute=0, second=0, microsecond=0)
    last_start = now if hourly else now.replace(hour=0)
    starts = [last_start - step * (bar_count - 1 - number) for number in range(bar_count)]
    counts = _counts_by_start(starts, truncate)
    totals: Counter[str] = sum(counts.values(), Counter())
    colors = {
        kind: f"hsl({200 + 67 * number % 360} 45% 45%)"
        for number, (kind, _) in enumerate(totals.most_common())
    }
    highest = max(by_kind.total() for by_kind in counts.values()) or 1
    bars = [
        {
            "moment": start,
            "total": by_kind.total(),
            "parts": [
                {
                    "kind": kind,
                    "count": by_kind[kind],
                    "height": 100 * by_kind[kind] / highest,
                    "color": color,
                }
                for kind, color in colors.items()
                if by_kind[kind]
            ],
        }
        for start, by_kind in sorted(counts.items())
    ]
    legend = [{"kind": kind, "color": color, "count": totals[kind]} for kind, color in colors.items()]
    return {"bars": bars, "legend": legend}


def _counts_by_start(starts: list[datetime], truncate: Any) -> dict[datetime, Counter[str]]:
    """Count entries by hour or day and by kind. Every start has a counter. One query."""
    rows = (
        Entry.objects.filter(created_at__gte=starts[0])
        .annotate(start=truncate("created_at"))
        .values_list("start", "event")
        .annotate(count=Count("id"))
    )
    counts: dict[datetime, Counter[str]] = {start: Counter() for start in starts}
    for start, event, count in rows:
        counts.setdefault(start, Counter())[event.split(".")[0]] += count
    return counts


@admin.register(LogLine)
class LogLineAdmin(ReadOnlyAdmin):
    list_display = ("created_at", "level", "logger", "message", "request_id")
    list_filter = ("level", "created_at")
    search_fields = ("message", "logger", "request_id")
    ordering = ("-id",)
