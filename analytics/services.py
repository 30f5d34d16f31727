"""What a site's people choose and save, and what servers send."""

from collections import Counter
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import QuerySet

from analytics.errors import NameTaken, TooManySaved
from analytics.ingest import intake, settings_cache
from analytics.ingest.events import Dropped, read_event
from analytics.models import Annotation, Definition, Drop, Settings
from analytics.reports import sql_store
from analytics.reports.time_zones import Span, day_bounds, local_day
from audit.actors import Actor
from audit.services import record
from sites.models import Release, Site
from sites.subdomains import host_of

LATEST = timedelta(days=7)
EARLY = timedelta(minutes=5)  # a clock may be ahead by that much
MOST_SAVED = 100  # goals of a site, and as many segments, funnels and links
MOST_ANNOTATIONS = 2_000
MOST_NOTES = 200  # of each sort beside one report


def settings_of(site: Site) -> Settings:
    """What the owner chose, or the defaults."""
    return Settings.objects.filter(site=site).first() or Settings(site=site)


@transaction.atomic
def change_settings(site: Site, changes: dict[str, Any], *, actor: Actor) -> Settings:
    """Choose anew, from now on; every process follows within a minute."""
    Settings.objects.get_or_create(site=site)
    row = Settings.objects.select_for_update().get(site=site)
    moved = {
        name: [getattr(row, name), value] for name, value in changes.items() if getattr(row, name) != value
    }
    for name, value in changes.items():
        setattr(row, name, value)
    row.save()
    record("analytics.settings_changed", actor=actor, subject=site, changes=moved)
    transaction.on_commit(lambda: settings_cache.invalidate(site.pk))
    return row


@transaction.atomic
def save_definition(site: Site, kind: str, given: dict[str, Any], *, actor: Actor) -> Definition:
    """A goal, segment or funnel under a name. Raises NameTaken, TooManySaved."""
    bounded(Definition.objects.filter(site=site, kind=kind))
    try:
        with transaction.atomic():
            made = Definition.objects.create(site=site, kind=kind, **given)
    except IntegrityError:
        raise NameTaken from None
    record(f"{kind}.created", actor=actor, subject=made, conditions=made.conditions)
    return made


@transaction.atomic
def change_definition(row: Definition, changes: dict[str, Any], *, actor: Actor) -> Definition:
    """Another name or other conditions: reports of days before follow them.

    Raises NameTaken, Definition.DoesNotExist.
    """
    row = Definition.objects.select_for_update().get(pk=row.pk)
    moved = {
        name: [getattr(row, name), value] for name, value in changes.items() if getattr(row, name) != value
    }
    for name, value in changes.items():
        setattr(row, name, value)
    try:
        with transaction.atomic():
            row.save()
    except IntegrityError:
        raise NameTaken from None
    record(f"{row.kind}.changed", actor=actor, subject=row, changes=moved)
    return row


@transaction.atomic
def annotate(site: Site, given: dict[str, Any], *, actor: Actor) -> Annotation:
    """Write beside a day what happened. Raises TooManySaved."""
    bounded(Annotation.objects.filter(site=site), most=MOST_ANNOTATIONS)
    made = Annotation.objects.create(site=site, **given)
    record("annotation.created", actor=actor, subject=made, day=made.day.isoformat())
    return made


@transaction.atomic
def remove(row: Definition | Annotation, *, actor: Actor) -> None:
    record(f"{row.as_subject().type}.deleted", actor=actor, subject=row)
    row.delete()


def bounded(rows: QuerySet[Any], *, most: int = MOST_SAVED) -> None:
    """Raises TooManySaved."""
    if rows.count() >= most:
        raise TooManySaved


def notes(site: Site, span: Span) -> list[dict[str, Any]]:
    """What happened on the days of a span, oldest first: what people wrote, and publishes by themselves.

    Two queries.
    """
    since, until = day_bounds(span.first, span.last, span.zone)
    written = Annotation.objects.filter(site=site, day__gte=span.first, day__lte=span.last).order_by(
        "-day", "-id"
    )[:MOST_NOTES]
    published = Release.objects.filter(site=site, created_at__gte=since, created_at__lt=until)[:MOST_NOTES]
    found = [{"id": row.pk, "kind": "note", "day": row.day, "text": row.text} for row in written]
    for number, note, at in published.values_list("number", "note", "created_at"):
        text = f"Release {number}: {note}" if note else f"Release {number}"
        found.append({"id": None, "kind": "publish", "day": local_day(at, span.zone), "text": text})
    return sorted(found, key=lambda one: (one["day"], one["kind"]))


def take_events(site: Any, given: list[dict[str, Any]], *, now: datetime) -> Counter[str]:
    """What became of events that a server sent: `ok`, or why not. Raises RedisAway, DatabaseError."""
    profile = settings_cache.CachedSettings(
        *(getattr(settings_of(site), name) for name in ("enabled", "timezone", "signals"))
    )
    host = host_of(site.subdomain)
    outcome = Counter[str]()
    events = []
    for item in given:
        try:
            at = item.get("timestamp")
            if at is not None and not now - LATEST <= at <= now + EARLY:
                raise Dropped("too_old" if at < now else "too_new")
            said = {"n": item["name"], "u": item["url"], "r": item.get("referrer"), "i": item.get("id")}
            event = read_event({**said, "p": item.get("properties"), "v": item.get("revenue")}, host=host)
            agent = item.get("user_agent", "")
            address = item.get("address", "")
            visitor = intake.Visitor(address=address, agent=agent, host=host)
            person = bool(agent and address)
            events.append(intake.make_event(site.number, profile, visitor, event, at=at, person=person))
        except Dropped as drop:
            outcome[drop.reason] += 1
    if events:
        outcome.update(intake.keep(events))
    intake.count_drops(
        site.number, Counter({reason: count for reason, count in outcome.items() if reason != "ok"})
    )
    return outcome


def purge(before: datetime) -> int:
    """Everything of sites that go for good now.

    In context `system`; how many sites that was is counted where they go.
    """
    for number in Site.objects.filter(deleted_at__lt=before).values_list("number", flat=True):
        sql_store.forget_site(number)
    return 0


def erase_person(person: UUID | None, addresses: frozenset[str]) -> dict[str, int]:
    """What was counted of a person's sites.

    Of visitors there is nothing that could be erased: nobody knows whose it is.
    """
    gone: Counter[str] = Counter()
    for number in Site.objects.filter(owner_id=person).values_list("number", flat=True):
        gone.update({f"analytics_{name}": count for name, count in sql_store.forget_site(number).items()})
    return dict(gone)


def drops_of(span: Span) -> list[dict[str, Any]]:
    """What was not counted, by reason, most first. Up to a minute old."""
    since, until = day_bounds(span.first, span.last, span.zone)
    counted: Counter[str] = Counter()
    for reason, count in Drop.objects.filter(
        site_number=span.site, hour__gte=since, hour__lt=until
    ).values_list("reason", "count"):
        counted[reason] += count
    return [{"reason": reason, "count": count} for reason, count in counted.most_common()]
