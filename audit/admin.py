"""The trail and the logs in the admin: a timeline to look at and a button that verifies."""

from collections import Counter
from datetime import timedelta
from typing import Any

from django.contrib import admin
from django.db.models import Count, OuterRef, QuerySet, Subquery
from django.db.models.functions import TruncDay, TruncHour
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from audit import actors
from audit.models import Entry, LogLine, Personal
from audit.selectors import mentioning
from audit.services import record
from audit.verify import verify


class ReadOnlyAdmin(admin.ModelAdmin):
    """Looks, and changes nothing."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class Watched:
    """For admins of customer data: opening a record is recorded, with who opened it."""

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, obj: Any = None, **kwargs: Any
    ) -> HttpResponse:
        if request.method == "GET" and obj is not None:
            record("admin.viewed", actor=actors.staff(request.user), subject=obj)
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
    actions = ("verify",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Entry]:
        value = Personal.objects.filter(entry_id=OuterRef("pk")).values("value")
        labelled: QuerySet[Entry] = super().get_queryset(request)
        labels = {"actor_label": value.filter(field="actor")[:1], "subject_label": value.filter(field="label")[:1]}
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

    @admin.action(description="Verify the whole trail", permissions=["view"])
    def verify(self, request: HttpRequest, queryset: QuerySet[Entry]) -> None:
        found = verify(now=timezone.now())
        text = (
            f"Good: {found.rows} entries, {found.checkpoints} checkpoints." if found.good else f"FAULT: {found.fault}"
        )
        self.message_user(request, text, level="success" if found.good else "error")

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        hourly = request.GET.get("chart") != "day"
        return super().changelist_view(
            request, {**(extra_context or {}), "chart": chart(hourly=hourly), "hourly": hourly}
        )


def chart(*, hourly: bool) -> dict[str, Any]:
    """Entries by kind of event over the last day by hours, or the last 30 days, as bars in per cent of the highest."""
    now = timezone.now()
    since, truncate = (now - timedelta(hours=24), TruncHour) if hourly else (now - timedelta(days=30), TruncDay)
    rows = (
        Entry.objects.filter(created_at__gte=since)
        .annotate(moment=truncate("created_at"))
        .values("moment", "event")
        .annotate(count=Count("id"))
        .order_by("moment")
    )
    bars: dict[Any, Counter[str]] = {}
    for row in rows:
        bars.setdefault(row["moment"], Counter())[row["event"].split(".")[0]] += row["count"]
    highest = max((sum(kinds.values()) for kinds in bars.values()), default=0)
    return {
        "highest": highest,
        "bars": [
            {
                "moment": moment,
                "total": sum(kinds.values()),
                "kinds": kinds.most_common(),
                "height": round(100 * sum(kinds.values()) / highest),
            }
            for moment, kinds in bars.items()
        ],
    }


@admin.register(LogLine)
class LogLineAdmin(ReadOnlyAdmin):
    list_display = ("created_at", "level", "logger", "message", "request_id")
    list_filter = ("level", "created_at")
    search_fields = ("message", "logger", "request_id")
    ordering = ("-id",)
