"""The weekly mail: every Monday, subscribers of a site receive the numbers of the week before."""

from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import structlog
from django.conf import settings
from django.db import DatabaseError, transaction

from analytics.models import Settings, Subscription
from analytics.reports import charts, query
from analytics.reports.query import Query
from analytics.time_zones import DateRange
from audit.actors import Actor
from audit.services import record
from core import encryption, tenancy
from core.jobs import mail
from sites.models import Access, Site

UNSUBSCRIBE_PURPOSE = "analytics unsubscribe"
SEND_HOUR = 7  # on Mondays, in the time zone of the site
MAX_MAILS_PER_RUN = 200
MAX_SUBSCRIPTIONS_PER_RUN = 2_000
BAR_HEIGHT_PIXELS = 80
BAR_CHARACTERS = 20
METRIC_LABELS = {"visitors": "visitors", "visits": "visits", "pageviews": "page views"}

log = structlog.get_logger(__name__)


@transaction.atomic
def subscribe(site: Site, user_id: UUID, *, actor: Actor, now: datetime) -> Subscription:
    """Subscribe a user to the weekly mail, from the next Monday on. Does nothing the second time."""
    zone = Settings.objects.filter(site=site).values_list("timezone", flat=True).first() or "UTC"
    subscription, created = Subscription.objects.get_or_create(
        site=site, user_id=user_id, defaults={"last": _monday_of_week(now.astimezone(ZoneInfo(zone)))}
    )
    if created:
        record("subscription.created", actor=actor, subject=subscription)
    return subscription


@transaction.atomic
def unsubscribe(subscription: Subscription, *, actor: Actor) -> None:
    """Delete a subscription."""
    record("subscription.deleted", actor=actor, subject=subscription)
    subscription.delete()


def find_subscription_by_token(token: str) -> Subscription | None:
    """The subscription of the unsubscribe link in a mail, or None. Needs the system context."""
    subscription_id = encryption.verify_token(UNSUBSCRIBE_PURPOSE, token)
    if subscription_id is None:
        return None
    return Subscription.objects.select_related("site").filter(pk=subscription_id).first()


def send_due_mails(*, now: datetime) -> int:
    """Enqueue the mails that are due, up to `MAX_MAILS_PER_RUN`; return how many were enqueued.

    Each mail and the mark that it was sent are one transaction, so an interrupted run sends none twice.
    """
    with tenancy.context(tenancy.SYSTEM):
        waiting = Subscription.objects.filter(last__lt=_monday_of_week(now + timedelta(days=1)))
        site_zones = Settings.objects.filter(site__in=waiting.values("site"))
        zones = dict(site_zones.values_list("site_id", "timezone"))
        rows = list(waiting.values_list("pk", "site_id", "last")[:MAX_SUBSCRIPTIONS_PER_RUN])
    due = []
    for subscription_id, site_id, last in rows:
        zone = zones.get(site_id, "UTC")
        monday = _monday_of_week(now.astimezone(ZoneInfo(zone)) - timedelta(hours=SEND_HOUR))
        if last < monday:
            due.append((subscription_id, monday, zone))
    return sum(_send_or_log(*subscription) for subscription in due[:MAX_MAILS_PER_RUN])


def _send_or_log(subscription_id: UUID, monday: date, zone: str) -> int:
    """Send one mail; on a database error log it and return 0, so that the other mails are sent.

    The next run tries again.
    """
    try:
        return _send_mail(subscription_id, monday, zone)
    except DatabaseError as error:
        log.warning("weekly_mail_failed", subscription=str(subscription_id), error=type(error).__name__)
        return 0


def _monday_of_week(instant: datetime) -> date:
    return instant.date() - timedelta(days=instant.weekday())


def _send_mail(subscription_id: UUID, monday: date, zone: str) -> int:
    """Enqueue the mail about the seven days before a Monday; return 1, or 0 when no mail is sent.

    No mail is sent when another worker sent it, or when the user may not see the site any more.
    """
    with tenancy.context(tenancy.SYSTEM):
        unlocked = Subscription.objects.select_for_update(of=["self"], skip_locked=True)
        row = unlocked.select_related("site", "user").filter(last__lt=monday, pk=subscription_id).first()
        if row is None:
            return 0
        row.last = monday
        row.save(update_fields=["last"])
        if not _may_read(row):
            return 0
        mail.enqueue_mail(
            row.user.email,
            "weekly",
            person=row.user_id,
            until=_noon_utc(monday + timedelta(days=7)),
            **_mail_context(row, monday, zone),
        )
        return 1


def _may_read(row: Subscription) -> bool:
    """Whether user and site are active and the user still has access to the site."""
    is_active = row.user.is_active and row.user.deleted_at is None and row.site.deleted_at is None
    return is_active and Access.objects.filter(site=row.site_id, user=row.user_id).exists()


def _noon_utc(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, 12, tzinfo=UTC)


def _mail_context(row: Subscription, monday: date, zone: str) -> dict[str, Any]:
    """The template context: metrics compared with the previous week, days, top pages and top sources."""
    first = monday - timedelta(days=7)
    last = monday - timedelta(days=1)
    week = Query(DateRange(row.site.number, zone, first, last))
    current = query.summary(week)
    previous = query.summary(query.comparison_query(week, "previous"))
    days = query.timeseries(week, "day")
    highest = max(day["visitors"] for day in days) or 1
    pages, _ = query.breakdown(week, "page", limit=5)
    sources, _ = query.breakdown(week, "source", limit=5)
    return {
        "site": row.site.name,
        "span": f"{first:%-d %B} to {last:%-d %B}",
        "metrics": [
            {
                "name": label,
                "now": f"{current[name]:,}",
                "change": charts.format_change(current[name], previous[name]),
            }
            for name, label in METRIC_LABELS.items()
        ],
        "days": [
            {
                "day": date.fromisoformat(day["at"][:10]).strftime("%a"),
                "visitors": day["visitors"],
                "height": round(BAR_HEIGHT_PIXELS * day["visitors"] / highest),
                "bar": "█" * round(BAR_CHARACTERS * day["visitors"] / highest),
            }
            for day in days
        ],
        "pages": [{"value": page["value"], "visitors": page["visitors"]} for page in pages],
        "sources": [
            {"value": source["value"] or "direct", "visitors": source["visitors"]} for source in sources
        ],
        "unsubscribe": f"{settings.APP_URL}/shared/stop/{encryption.make_token(UNSUBSCRIBE_PURPOSE, row.pk)}",
    }
