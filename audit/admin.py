"""The trail and the logs in the admin: a timeline to look at and a button that verifies."""

from collections import Counter
from datetime import datetime, timedelta
from typing import Any, cast

from django.contrib import admin
from django.db.models import Count, OuterRef, QuerySet, Subquery
from django.db.models.functions import TruncDay, TruncHour
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import redirect
from django.urls import URLPattern, path
from django.utils import timezone

from audit import actors
from audit.chain.verification import verify
from audit.models import Entry, LogLine, Personal
from audit.selectors import mentioning
from audit.services import record
from audit.subjects import HasSubject, Subject


class ReadOnlyAdmin(admin.ModelAdmin):
    """Looks, and changes nothing."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class AuditedAdmin:
    """For admins of customer data: opening a record is recorded, with who opened it."""

    def subject_of(self, obj: Any) -> HasSubject | Subject:
        """What the entry is about; for rows that cannot say it themselves."""
        return cast(HasSubject, obj)

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, obj: Any = None, **kwargs: Any
    ) -> HttpResponse:
        if request.method == "GET" and obj is not None:
            record("admin.viewed", actor=actors.staff(request.user), subject=self.subject_of(obj))
        response: HttpResponse = super().render_change_form(request, context, *args, obj=obj, **kwargs)  # type: ignore[misc]
        return response


@admin.register(Entry)
class EntryAdmin(ReadOnlyAdmin):
    change_list_template = "admin/audit_timeline.html"
    list_display = ("created_at", "event", "who", "what", "facts", "request_id")
    list_filter = ("actor_kind", "created_at")
    search_fields = ("event",)
    search_help_text = "Event, fact or personal value."
    ordering = ("-id",)
    show_full_result_count = False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Entry]:
        value = Personal.objects.filter(entry_id=OuterRef("pk")).values("value")
        labelled: QuerySet[Entry] = super().get_queryset(request)
        labels = {
            "actor_label": value.filter(field="actor")[:1],
            "subject_label": value.filter(field="label")[:1],
        }
        labelled = labelled.annotate(**{name: Subquery(found) for name, found in labels.items()})
        return labelled  # noqa: RET504 - the name carries the type

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Entry], search_term: str
    ) -> tuple[QuerySet[Entry], bool]:
        return (mentioning(queryset, search_term), False) if search_term else (queryset, False)

    @admin.display(description="who")
    def who(self, entry: Any) -> str:
        return f"{entry.actor_kind} {entry.actor_label or entry.actor_id or ''}".strip()

    @admin.display(description="what")
    def what(self, entry: Any) -> str:
        return f"{entry.subject_type} {entry.subject_label or entry.subject_id or ''}".strip()

    def get_urls(self) -> list[URLPattern]:
        verify_url = path("verify/", self.admin_site.admin_view(self.verify_view), name="audit_entry_verify")
        return [verify_url, *super().get_urls()]

    def verify_view(self, request: HttpRequest) -> HttpResponse:
        """The button above the timeline."""
        if request.method != "POST" or not self.has_view_permission(request):
            return HttpResponseNotAllowed(["POST"])
        found = verify(now=timezone.now())
        record("audit.verified", actor=actors.staff(request.user), subject=Subject("audit"), good=found.good)
        text = f"The trail is whole: {found.rows} entries, {found.checkpoints} checkpoints, {found.erased} values erased."
        self.message_user(
            request,
            text if found.good else f"The trail is damaged: {found.fault}",
            level="success" if found.good else "error",
        )
        return redirect("admin:audit_entry_changelist")

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        hourly = request.GET.get("chart") != "day"
        return super().changelist_view(
            request, {**(extra_context or {}), "chart": chart(hourly=hourly), "hourly": hourly}
        )


def chart(*, hourly: bool) -> dict[str, Any]:
    """Entries by kind over the last 24 hours or 30 days: every slot, its kinds stacked, heights in per cent
    of the highest.
    """
    step, slots, truncate = (
        (timedelta(hours=1), 24, TruncHour) if hourly else (timedelta(days=1), 30, TruncDay)
    )
    now = timezone.now().replace(minute=0, second=0, microsecond=0)
    last = now if hourly else now.replace(hour=0)
    moments = [last - step * (slots - 1 - number) for number in range(slots)]
    rows = (
        Entry.objects.filter(created_at__gte=moments[0])
        .annotate(moment=truncate("created_at"))
        .values_list("moment", "event")
        .annotate(count=Count("id"))
    )
    counts: dict[datetime, Counter[str]] = {moment: Counter() for moment in moments}
    for moment, event, count in rows:
        counts.setdefault(moment, Counter())[event.split(".")[0]] += count
    totals: Counter[str] = sum(counts.values(), Counter())
    kinds = {
        kind: f"hsl({200 + 67 * number % 360} 45% 45%)"
        for number, (kind, _) in enumerate(totals.most_common())
    }
    highest = max(sum(found.values()) for found in counts.values()) or 1
    bars = [
        {
            "moment": moment,
            "total": sum(found.values()),
            "parts": [
                {
                    "kind": kind,
                    "count": found[kind],
                    "height": 100 * found[kind] / highest,
                    "color": kinds[kind],
                }
                for kind in kinds
                if found[kind]
            ],
        }
        for moment, found in sorted(counts.items())
    ]
    return {
        "bars": bars,
        "legend": [{"kind": kind, "color": color, "count": totals[kind]} for kind, color in kinds.items()],
    }


@admin.register(LogLine)
class LogLineAdmin(ReadOnlyAdmin):
    list_display = ("created_at", "level", "logger", "message", "request_id")
    list_filter = ("level", "created_at")
    search_fields = ("message", "logger", "request_id")
    ordering = ("-id",)
