"""Stores events that another analytics tool or a web server recorded, each once.

The id of an imported event is computed from the imported file, never from an IP address. A second run
therefore recognises the events that the first one stored, even when that was interrupted. Complete addresses
and user agents are kept in memory only.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from itertools import islice

from django.db import transaction

from analytics.ingest import string_dictionary, visitors, writer
from analytics.ingest.stream import Event
from analytics.reports import event_sql, rollup_sql
from analytics.time_zones import day_bounds, local_day

BATCH_EVENTS = 5_000

ImportedEvent = tuple[datetime, int | None, Event]  # time, visit, event


@dataclass(slots=True)
class ImportTarget:
    """The site of an import, its options, and the state of the run.

    `host` is the host that the site had when the visits were recorded; with `only_this_host` the visits of
    other hosts are left out. `server_name` distinguishes the logs of several servers. `until` is the first
    day that is left out. `retention` is how long this site keeps events.
    """

    site_number: int
    zone: str
    host: str
    now: datetime
    retention: timedelta
    only_this_host: bool = False
    server_name: str = ""
    until: date | None = None
    # How often each log line occurred, so that equal lines of one second get different ids.
    line_counts: Counter[tuple[str, ...]] = field(default_factory=Counter)
    # By visitor: the time of the last page view, and its visit.
    last_views: dict[int, tuple[datetime, int]] = field(default_factory=dict)
    # How many events were `added` or already `known`, and how many were left out by reason.
    outcomes: Counter[str] = field(default_factory=Counter)


def add_events(target: ImportTarget, events: Iterable[ImportedEvent]) -> None:
    """Store the events that are not stored yet, in one transaction for each batch.

    `target.outcomes` counts what happened to them.
    """
    imported_days = rollup_sql.list_imported_days(target.site_number)
    # The first day that is kept completely. Older events are left out: their day would soon be deleted in
    # part, and its sums would then be computed from the rest.
    oldest_day = local_day(target.now - target.retention, target.zone)
    oldest = day_bounds(oldest_day, oldest_day, target.zone)[1]
    iterator = iter(events)
    while batch := list(islice(iterator, BATCH_EVENTS)):
        rows: list[writer.Row] = []
        with transaction.atomic():
            stored = event_sql.find_stored_events(
                target.site_number, {(at, event.id) for at, _, event in batch}
            )
            for at, visit, event in batch:
                outcome = _find_outcome(
                    target, at, is_stored=(at, event.id) in stored, oldest=oldest, imported_days=imported_days
                )
                if outcome == "added":
                    stored.add((at, event.id))
                    rows.append((at, visit, json.loads(event.to_json())))
                else:
                    target.outcomes[outcome] += 1
            refused_count = writer.write_valid_rows(rows) if rows else 0
        target.outcomes["added"] += len(rows) - refused_count
        if refused_count:
            target.outcomes["unreadable"] += refused_count


def _find_outcome(
    target: ImportTarget, at: datetime, *, is_stored: bool, oldest: datetime, imported_days: set[date]
) -> str:
    """`added`, or the reason why an event is not added."""
    if is_stored:
        return "known"
    if not oldest < at <= target.now:
        return "too_old" if at <= oldest else "too_new"
    day = local_day(at, target.zone)
    if target.until and day >= target.until:
        return "too_late"
    return "day_has_sums" if day in imported_days else "added"


def stable_id(*parts: object) -> int:
    """63 bits that are always the same for the same parts."""
    text = "|".join(map(str, parts)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") >> 1


def get_or_create_import_salt(target: ImportTarget, day: date) -> bytes:
    """The salt of the visitor ids of a day.

    It is kept as long as usual, but at least so long that the import can be repeated.
    """
    expires_at = max(target.now, day_bounds(day, day, target.zone)[1]) + visitors.SALT_GRACE_PERIOD
    return visitors.get_or_create_salt(target.site_number, day, expires_at=expires_at)


def parse_page(path: str) -> str:
    """The path of a page as events store it. Raises ValueError."""
    page = path.partition("?")[0].rstrip("/") or "/"
    if not page.startswith("/") or not page.isprintable():
        raise ValueError
    return page[: string_dictionary.MAX_TEXT_CHARACTERS]
