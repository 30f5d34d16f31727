"""Writes of analytics: settings, goals, segments, funnels, annotations, and events that servers send.

Links and the weekly mail are in `sharing`, events of browsers in `ingest`.
"""

from collections import Counter
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import QuerySet

from analytics.errors import NameTaken, TooManySaved
from analytics.ingest import drop_counters, intake, settings_cache
from analytics.ingest.events import EventDropped, parse_event
from analytics.ingest.settings_cache import CachedSettings
from analytics.ingest.stream import Event
from analytics.models import Annotation, Definition, Settings
from analytics.reports import event_sql
from analytics.selectors import get_settings
from audit.actors import Actor
from audit.services import record
from sites.models import Site
from sites.services.sites import lock_site
from sites.subdomains import host_of

MAX_EVENT_AGE = timedelta(days=7)
MAX_CLOCK_SKEW = timedelta(minutes=5)  # how far the clock of a sending server may be ahead
MAX_SAVED_PER_SITE = 100  # goals, and as many segments, funnels and links
MAX_ANNOTATIONS_PER_SITE = 2_000


@transaction.atomic
def change_settings(site: Site, changes: dict[str, Any], *, actor: Actor) -> Settings:
    """Change the analytics settings of a site. All processes use the new ones within a minute."""
    Settings.objects.get_or_create(site=site)
    row = Settings.objects.select_for_update().get(site=site)
    differences = _apply_changes(row, changes)
    row.save()
    record("analytics.settings_changed", actor=actor, subject=site, changes=differences)
    transaction.on_commit(lambda: settings_cache.invalidate(site.pk))
    return row


@transaction.atomic
def create_definition(site: Site, kind: str, validated_data: dict[str, Any], *, actor: Actor) -> Definition:
    """Save a goal, segment or funnel. Raises NameTaken, TooManySaved."""
    enforce_row_limit(site, Definition.objects.filter(site=site, kind=kind))
    try:
        with transaction.atomic():
            definition = Definition.objects.create(site=site, kind=kind, **validated_data)
    except IntegrityError:
        raise NameTaken from None
    record(f"{kind}.created", actor=actor, subject=definition, conditions=definition.conditions)
    return definition


@transaction.atomic
def change_definition(row: Definition, changes: dict[str, Any], *, actor: Actor) -> Definition:
    """Change the name or the conditions of a goal, segment or funnel.

    Reports on earlier days use the new conditions, too. Raises NameTaken, Definition.DoesNotExist.
    """
    row = Definition.objects.select_for_update().get(pk=row.pk)
    differences = _apply_changes(row, changes)
    try:
        with transaction.atomic():
            row.save()
    except IntegrityError:
        raise NameTaken from None
    record(f"{row.kind}.changed", actor=actor, subject=row, changes=differences)
    return row


def _apply_changes(row: Settings | Definition, changes: dict[str, Any]) -> dict[str, list[Any]]:
    """Set the fields of a row without saving it; return [old, new] of each field that differs."""
    differences = {
        name: [getattr(row, name), value] for name, value in changes.items() if getattr(row, name) != value
    }
    for name, value in changes.items():
        setattr(row, name, value)
    return differences


@transaction.atomic
def create_annotation(site: Site, validated_data: dict[str, Any], *, actor: Actor) -> Annotation:
    """Save a note about a day. Raises TooManySaved."""
    enforce_row_limit(site, Annotation.objects.filter(site=site), limit=MAX_ANNOTATIONS_PER_SITE)
    annotation = Annotation.objects.create(site=site, **validated_data)
    record("annotation.created", actor=actor, subject=annotation, day=annotation.day.isoformat())
    return annotation


@transaction.atomic
def delete_with_audit_entry(row: Definition | Annotation, *, actor: Actor) -> None:
    """Delete a goal, segment, funnel or annotation."""
    record(f"{row.as_subject().type}.deleted", actor=actor, subject=row)
    row.delete()


def enforce_row_limit(site: Site, rows: QuerySet[Any], *, limit: int = MAX_SAVED_PER_SITE) -> None:
    """Raises TooManySaved when there are already `limit` rows. Two queries.

    The site is locked until the transaction ends, so that parallel requests count each other's rows.
    """
    lock_site(site)
    if rows.count() >= limit:
        raise TooManySaved


def ingest_server_events(site: Any, items: list[dict[str, Any]], *, now: datetime) -> Counter[str]:
    """Accept events that a server of the site's owner sends, as `EventSerializer` validates them.

    Returns how many were accepted (`ok`), and how many were dropped by reason. Raises RedisUnavailable,
    DatabaseError.
    """
    settings = get_settings(site)
    cached_settings = CachedSettings(settings.enabled, settings.timezone, settings.signals)
    host = host_of(site.subdomain)
    outcomes = Counter[str]()
    events = []
    for item in items:
        try:
            events.append(_build_server_event(site.number, cached_settings, item, host=host, now=now))
        except EventDropped as drop:
            outcomes[drop.reason] += 1
    if events:
        outcomes.update(intake.store_events(events))
    drops = Counter({reason: count for reason, count in outcomes.items() if reason != "ok"})
    drop_counters.count_drops(site.number, drops)
    return outcomes


def _build_server_event(
    site_number: int, settings: CachedSettings, item: dict[str, Any], *, host: str, now: datetime
) -> Event:
    """The event of one validated item. Raises EventDropped."""
    at = item.get("timestamp")
    if at is not None and not now - MAX_EVENT_AGE <= at <= now + MAX_CLOCK_SKEW:
        raise EventDropped("too_old" if at < now else "too_new")
    parsed = parse_event(
        {
            "n": item["name"],
            "u": item["url"],
            "r": item.get("referrer"),
            "i": item.get("id"),
            "p": item.get("properties"),
            "v": item.get("revenue"),
        },
        host=host,
    )
    user_agent = item.get("user_agent", "")
    address = item.get("address", "")
    visitor = intake.Visitor(address=address, user_agent=user_agent, host=host)
    has_visitor = bool(user_agent and address)
    return intake.build_event(site_number, settings, visitor, parsed, at=at, has_visitor=has_visitor)


def purge_deleted_sites(before: datetime) -> int:
    """Delete the events of sites that were deleted before an instant, and are now purged.

    Registered with `lifecycle.on_purge()`; needs the system context. Returns 0, because the purged sites
    are counted by the app `sites`.
    """
    for number in Site.objects.filter(deleted_at__lt=before).values_list("number", flat=True):
        event_sql.delete_site_data(number)
    return 0


def erase_sites_of_user(user_id: UUID | None, addresses: frozenset[str]) -> dict[str, int]:
    """Delete the events of all sites that a user owns; return the deleted rows by table.

    Registered with `lifecycle.on_erase()`. Events that the user caused as a visitor of sites stay: they are
    anonymous, so they cannot be found.
    """
    deleted: Counter[str] = Counter()
    for number in Site.objects.filter(owner_id=user_id).values_list("number", flat=True):
        counts = event_sql.delete_site_data(number)
        deleted.update({f"analytics_{table}": count for table, count in counts.items()})
    return dict(deleted)
