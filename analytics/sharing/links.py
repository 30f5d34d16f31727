"""Numbers for others: links that show a site's dashboard, and a mail on Mondays."""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import structlog
from django.conf import settings
from django.contrib.auth.hashers import check_password, make_password
from django.db import DatabaseError, transaction
from django.db.models import Q

from analytics.models import Settings, Share, Subscription
from analytics.reports import charts, query
from analytics.reports.query import Query
from analytics.reports.time_zones import Span
from analytics.services import bounded
from audit.actors import Actor
from audit.services import record
from core import encryption, tenancy
from core.jobs import mail
from sites.models import Access, Site

SIGNATURE = "analytics share"
OPENED = "analytics share opened"
UNSUBSCRIBE = "analytics unsubscribe"
OPEN_FOR = timedelta(hours=12)
WEEKLY_HOUR = 7  # local time of the site, on Mondays
BATCH = 200

log = structlog.get_logger(__name__)


@transaction.atomic
def share(
    site: Site,
    *,
    name: str,
    conditions: Sequence[str],
    password: str,
    expires_at: datetime | None,
    actor: Actor,
) -> Share:
    """A link for whoever has it. Raises TooManySaved."""
    assert actor.id is not None
    bounded(Share.objects.filter(site=site))
    hashed = make_password(password) if password else ""
    made = Share.objects.create(
        site=site,
        name=name,
        conditions=conditions,
        password=hashed,
        expires_at=expires_at,
        author_id=actor.id,
    )
    record("share.created", actor=actor, subject=made, password=bool(password), until=expires_at)
    return made


@transaction.atomic
def revoke(row: Share, *, actor: Actor) -> None:
    """The link shows nothing from now on."""
    record("share.revoked", actor=actor, subject=row)
    row.delete()


def link_to(row: Share) -> str:
    """The address to hand on."""
    return f"{settings.APP_URL}/shared/{encryption.make_token(SIGNATURE, row.pk)}"


def read_link(token: str) -> UUID | None:
    """Which link this is; None for a token that we did not sign. No query."""
    return encryption.verify_token(SIGNATURE, token)


def find(pk: UUID, *, now: datetime) -> Share | None:
    """What a link shows, with its site; None unless it is still good, and of somebody who may still make one.

    In context `system`.
    """
    good = Share.objects.select_related("site").filter(Q(expires_at=None) | Q(expires_at__gt=now), pk=pk)
    row = good.filter(site__deleted_at=None, author__is_active=True, author__deleted_at=None).first()
    makers = Access.objects.filter(role__in=[Access.Role.OWNER, Access.Role.EDITOR])
    return row if row and makers.filter(site=row.site_id, user=row.author_id).exists() else None


def opens(row: Share, password: str) -> bool:
    return check_password(password, row.password)


def proof(row: Share) -> str:
    """What a browser shows that its user knew the password; another password ends it."""
    return encryption.sign(OPENED, f"{row.pk}:{row.password}")


def proven(row: Share, shown: str) -> bool:
    return not row.password or encryption.verify_signature(OPENED, f"{row.pk}:{row.password}", shown)


# --- Mondays ---


@transaction.atomic
def subscribe(site: Site, user: UUID, *, actor: Actor, now: datetime) -> Subscription:
    """From the next Monday on."""
    zone = Settings.objects.filter(site=site).values_list("timezone", flat=True).first() or "UTC"
    monday = _monday(now.astimezone(ZoneInfo(zone)))
    row, new = Subscription.objects.get_or_create(site=site, user_id=user, defaults={"last": monday})
    if new:
        record("subscription.created", actor=actor, subject=row)
    return row


@transaction.atomic
def unsubscribe(row: Subscription, *, actor: Actor) -> None:
    record("subscription.deleted", actor=actor, subject=row)
    row.delete()


def find_subscription(token: str) -> Subscription | None:
    """By the link in a mail. In context `system`."""
    pk = encryption.verify_token(UNSUBSCRIBE, token)
    return Subscription.objects.select_related("site").filter(pk=pk).first() if pk else None


def mail_week(*, now: datetime) -> int:
    """Write the mails that are due, a batch of them; return how many.

    Whoever has no place on the site any more gets none, and a killed run goes on where it was: each mail and
    its mark are one transaction.
    """
    with tenancy.context(tenancy.SYSTEM):
        waiting = Subscription.objects.filter(last__lt=_monday(now + timedelta(days=1)))
        zones = dict(
            Settings.objects.filter(site__in=waiting.values("site")).values_list("site_id", "timezone")
        )
        rows = list(waiting.values_list("pk", "site_id", "last")[: BATCH * 10])
    due = []
    for pk, site_id, last in rows:
        local = now.astimezone(ZoneInfo(zones.get(site_id, "UTC"))) - timedelta(hours=WEEKLY_HOUR)
        if last < _monday(local):
            due.append((pk, _monday(local), zones.get(site_id, "UTC")))
    return sum(_tried(pk, monday, zone) for pk, monday, zone in due[:BATCH])


def _tried(pk: UUID, monday: date, zone: str) -> int:
    """One that fails is tried again with the next batch, and holds up none behind it."""
    try:
        return _mail(pk, monday, zone)
    except DatabaseError as error:
        log.warning("weekly_mail_failed", subscription=str(pk), error=type(error).__name__)
        return 0


def _monday(moment: datetime) -> date:
    return moment.date() - timedelta(days=moment.weekday())


def _mail(pk: UUID, monday: date, zone: str) -> int:
    """One mail about the seven days before a Monday; 0 where somebody was faster, or none is due."""
    with tenancy.context(tenancy.SYSTEM):
        rows = Subscription.objects.select_for_update(of=["self"], skip_locked=True).select_related(
            "site", "user"
        )
        row = rows.filter(last__lt=monday, pk=pk).first()
        if row is None:
            return 0
        row.last = monday
        row.save(update_fields=["last"])
        reader = row.user.is_active and row.user.deleted_at is None and row.site.deleted_at is None
        if not reader or not Access.objects.filter(site=row.site_id, user=row.user_id).exists():
            return 0
        until = monday + timedelta(days=7)
        mail.enqueue_mail(
            row.user.email, "weekly", person=row.user_id, until=_noon(until), **_facts(row, monday, zone)
        )
        return 1


def _noon(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, 12, tzinfo=ZoneInfo("UTC"))


def _facts(row: Subscription, monday: date, zone: str) -> dict[str, Any]:
    """What the mail says: the week's metrics beside those of the week before, its days, its largest pages and
    sources.
    """
    week = Query(Span(row.site.number, zone, monday - timedelta(days=7), monday - timedelta(days=1)))
    now = query.summary(week)
    before = query.summary(query.before(week, "previous"))
    days = query.timeseries(week, "day")
    most = max(day["visitors"] for day in days) or 1
    shown = [
        {
            "day": date.fromisoformat(day["at"][:10]).strftime("%a"),
            "visitors": day["visitors"],
            "height": round(80 * day["visitors"] / most),
            "bar": "█" * round(20 * day["visitors"] / most),
        }
        for day in days
    ]
    pages, _ = query.breakdown(week, "page", limit=5)
    sources, _ = query.breakdown(week, "source", limit=5)
    names = {"visitors": "visitors", "visits": "visits", "pageviews": "page views"}
    return {
        "site": row.site.name,
        "span": f"{week.span.first:%-d %B} to {week.span.last:%-d %B}",
        "metrics": [
            {"name": label, "now": f"{now[name]:,}", "change": charts.change(now[name], before[name])}
            for name, label in names.items()
        ],
        "days": shown,
        "pages": [{"value": page["value"], "visitors": page["visitors"]} for page in pages],
        "sources": [
            {"value": source["value"] or "direct", "visitors": source["visitors"]} for source in sources
        ],
        "unsubscribe": f"{settings.APP_URL}/shared/stop/{encryption.make_token(UNSUBSCRIBE, row.pk)}",
    }
