"""What was counted elsewhere, added once: events of Umami and lines of access logs as events, Plausible's
daily sums as sums.

An imported event's id is made of what the file says, never of an address, so a second run knows what the
first one added, wherever that was killed. Whole addresses and agents live as long as the run.
"""

import csv
import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from urllib.parse import urlsplit

from django.db import transaction

from analytics.ingest import geoip, referrers, string_dictionary, user_agents, visitors, writer
from analytics.ingest.stream import Event
from analytics.models import Kind
from analytics.reports import sql_store
from analytics.reports.dimensions import DIMENSIONS, METRICS, OF_SOME
from analytics.reports.time_zones import day_bounds, local_day

BATCH = 5_000
MAX_LINE = 16_384
MOST = 500_000
VISIT_ENDS = timedelta(minutes=30)
# NCSA combined, as Apache and nginx write it, with the host before it or not.
LINE = re.compile(
    r'^(?:(?P<host>\S+) )?(?P<address>[0-9A-Fa-f.:]+) \S+ \S+ \[(?P<at>[^\]]+)\] "(?P<method>[A-Z]+) (?P<target>\S+)[^"]*" (?P<status>\d{3}) (?P<size>\S+)'
    r' "(?P<referrer>(?:[^"\\]|\\.)*)" "(?P<agent>(?:[^"\\]|\\.)*)"'
)
FILE = re.compile(r"\.(?!html?$)[a-z0-9]{1,5}$", re.IGNORECASE)  # a picture, a style, a font: no page
BROWSERS = {
    "chrome": "Chrome",
    "crios": "Chrome",
    "safari": "Safari",
    "ios": "Safari",
    "firefox": "Firefox",
    "fxios": "Firefox",
    "edge": "Edge",
    "edge-chromium": "Edge",
    "opera": "Opera",
    "samsung": "Samsung Internet",
}


@dataclass(slots=True)
class Target:
    """Where it goes: a site by number, its time zone and its host.

    `host` is what the site was called there, `own` whether somebody said so; `name` tells the logs of several
    servers apart; `until` is the first day that is left out.
    """

    number: int
    zone: str
    host: str
    now: datetime
    keep: timedelta
    own: bool = False
    name: str = ""
    until: date | None = None
    same: Counter[tuple[str, ...]] = field(
        default_factory=Counter
    )  # lines that say the same, by how many there were
    last: dict[int, tuple[datetime, int]] = field(
        default_factory=dict
    )  # by visitor: when, and on which visit
    counted: Counter[str] = field(default_factory=Counter)  # added, known, and why others were left out


Found = tuple[datetime, int | None, Event]  # when, visit, event


def add(target: Target, found: Iterable[Found]) -> None:
    """Write what is not there yet, a batch in a transaction; `target.counted` says what became of all."""
    sums = sql_store.imported_days(target.number)
    # A day that was forgotten in part would be counted anew from what is left of it.
    oldest = day_bounds(*2 * (local_day(target.now - target.keep, target.zone),), target.zone)[1]
    rest = iter(found)
    while batch := list(islice(rest, BATCH)):
        rows: list[writer.Row] = []
        with transaction.atomic():
            known = sql_store.known_events(target.number, {(at, event.id) for at, _, event in batch})
            for at, visit, event in batch:
                if (at, event.id) in known:
                    target.counted["known"] += 1
                elif not oldest < at <= target.now:
                    target.counted["too_old" if at <= oldest else "too_new"] += 1
                elif target.until and local_day(at, target.zone) >= target.until:
                    target.counted["too_late"] += 1
                elif local_day(at, target.zone) in sums:
                    target.counted["day_has_sums"] += 1
                else:
                    known.add((at, event.id))
                    rows.append((at, visit, json.loads(event.packed())))
            refused = writer.write_each(rows) if rows else 0
        target.counted["added"] += len(rows) - refused
        target.counted.update({"unreadable": refused} if refused else {})


def number_of(*parts: object) -> int:
    """63 bits of these texts, the same each time."""
    text = "|".join(map(str, parts)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") >> 1


# --- Umami ---


def umami(target: Target, lines: Iterable[str]) -> Iterator[Found]:
    """Rows of Umami's `website_event.csv`.

    Its month-long sessions become visitors of one day, as ours are.
    """
    for row in csv.DictReader(lines):
        try:
            at = datetime.fromisoformat(row["created_at"].strip().replace(" UTC", "+00:00"))
            at = at if at.tzinfo else at.replace(tzinfo=UTC)
            if target.own and row.get("hostname", target.host) != target.host:
                target.counted["other_host"] += 1
                continue
            yield _of_umami(target, row, at.astimezone(UTC))
        except (KeyError, ValueError, AttributeError, TypeError):
            target.counted["unreadable"] += 1


def _of_umami(target: Target, row: dict[str, str], at: datetime) -> Found:
    day = local_day(at, target.zone)
    domain = row.get("referrer_domain") or ""
    origin = referrers.read(
        row.get("url_query") or "",
        f"https://{domain}{row.get('referrer_path') or ''}" if domain else "",
        target.host,
    )
    custom = row.get("event_type") == "2"
    country = (row.get("country") or "").upper()[:2]
    region = row.get("region") or ""
    visitor = visitors.id_of(
        _key(target, day), target.number, address=row["session_id"], agent="umami", host=""
    )
    event = Event(
        target.number,
        Kind.CUSTOM if custom else Kind.PAGEVIEW,
        _page(row["url_path"]),
        id=int(row["event_id"].replace("-", ""), 16) >> 65,
        at=at,
        name=(row.get("event_name") or "")[:60] if custom else "",
        visitor=visitor,
        referrer=origin.referrer,
        source=origin.source,
        utm=origin.utm,
        country=country,
        region=region if "-" in region or not region else f"{country}-{region}",
        browser=BROWSERS.get(row.get("browser") or "", row.get("browser") or ""),
        os=row.get("os") or "",
        device={"laptop": "desktop"}.get(row.get("device") or "", row.get("device") or ""),
        language=(row.get("language") or "")[:2].lower(),
    )
    if not event.id or (custom and not event.name):
        raise ValueError
    return at, number_of(row.get("visit_id") or row["session_id"], day), event


def _key(target: Target, day: date) -> bytes:
    """The random key of a day, which lives as long as it would have, or as an import may be repeated."""
    lives = max(target.now, day_bounds(day, day, target.zone)[1]) + visitors.LIVES_ON
    return visitors.key_of(target.number, day, dies_at=lives)


def _page(path: str) -> str:
    page = path.partition("?")[0].rstrip("/") or "/"
    if not page.startswith("/") or not page.isprintable():
        raise ValueError
    return page[: string_dictionary.MAX_TEXT]


# --- access logs ---


def log(target: Target, lines: Iterable[str]) -> Iterator[Found]:
    """Page views of an access log: what browsers asked for and got, no files, no crawlers.

    A visit ends with 30 quiet minutes.
    """
    for line in lines:
        found = LINE.match(line[:MAX_LINE])
        try:
            event = _of_log(target, found) if found else "unreadable"
        except ValueError:
            event = "unreadable"
        if found is None or isinstance(event, str):
            target.counted[str(event)] += 1
            continue
        said = (target.name, *found.group("at", "target", "status", "size", "referrer"))
        target.same[said] += 1  # those of one second that say the same are told apart by their order
        event.id = number_of(target.number, *said, target.same[said])
        yield _on_its_visit(target, event)
        for memory in (target.same, target.last):
            if len(memory) > MOST:
                memory.clear()  # always at the same line, so a second run does the same


def _on_its_visit(target: Target, event: Event) -> Found:
    assert event.at is not None
    assert event.visitor is not None
    before, visit = target.last.get(event.visitor, (None, 0))
    if before is None or event.at - before > VISIT_ENDS:
        visit = number_of(event.visitor, event.at)
    target.last[event.visitor] = (event.at, visit)
    return event.at, visit, event


def _of_log(target: Target, found: re.Match[str]) -> Event | str:
    """The page view of a line, or why it is none. Raises ValueError."""
    at = datetime.strptime(found["at"], "%d/%b/%Y:%H:%M:%S %z").astimezone(UTC)
    parts = urlsplit(found["target"])
    page = _page(parts.path)
    agent = user_agents.parse_user_agent(found["agent"][: user_agents.MAX_AGENT])
    if reason := _no_view(found, page, bot=agent.bot):
        return reason
    if target.own and found["host"] and found["host"].partition(":")[0] != target.host:
        return "other_host"
    visitor = visitors.id_of(
        _key(target, local_day(at, target.zone)),
        target.number,
        address=found["address"],
        agent=found["agent"],
        host=target.host,
    )
    country, region = geoip.find(found["address"])
    origin = referrers.read(parts.query, found["referrer"] if found["referrer"] != "-" else "", target.host)
    return Event(
        target.number,
        Kind.PAGEVIEW,
        page,
        at=at,
        visitor=visitor,
        referrer=origin.referrer,
        source=origin.source,
        utm=origin.utm,
        country=country,
        region=region,
        browser=agent.browser,
        os=agent.os,
        device=agent.device,
    )


def _no_view(found: re.Match[str], page: str, *, bot: bool) -> str:
    """Why a line is no page view; empty where it is one."""
    if (
        found["method"] != "GET"
        or found["status"] not in {"200", "304"}
        or FILE.search(page)
        or page.startswith("/_/")
    ):
        return "no_page"
    return "bot" if bot else ""


# --- Plausible ---

# Which table of an export has which of our dimensions, by column.
TABLES = {
    "imported_visitors": {},
    "imported_pages": {"page": "page"},
    "imported_entry_pages": {"entry_page": "entry_page"},
    "imported_exit_pages": {"exit_page": "exit_page"},
    "imported_browsers": {"browser": "browser"},
    "imported_operating_systems": {"operating_system": "os"},
    "imported_devices": {"device": "device"},
    "imported_locations": {"country": "country", "region": "region"},
    "imported_custom_events": {"name": "event"},
    "imported_sources": {
        "source": "source",
        "referrer": "referrer",
        "utm_source": "utm_source",
        "utm_medium": "utm_medium",
        "utm_campaign": "utm_campaign",
        "utm_content": "utm_content",
        "utm_term": "utm_term",
    },
}
Sums = dict[tuple[date, str, str], list[int]]


def table_of(name: str) -> str:
    """Which table a file is, by its name: `imported_pages_20240101_20240131.csv`; empty for another file."""
    found = re.fullmatch(r"(imported_[a-z_]+?)(_\d{8}_\d{8})?\.csv", name.rpartition("/")[2])
    return found[1] if found and found[1] in TABLES else ""


def plausible(table: str, lines: Iterable[str], sums: Sums, seen: set[tuple[str, date]]) -> None:
    """Add up one table by day and value.

    Raises ValueError for a file that is not such a table, or has days that another had.
    """
    reader = csv.DictReader(lines)
    days = set()
    if "date" not in (reader.fieldnames or []):
        raise ValueError(f"{table} has no column `date`.")
    for row in reader:
        day = date.fromisoformat(row["date"])
        days.add((table, day))
        if (table, day) in seen:
            raise ValueError(f"{day} is in another file, too.")
        for column, dimension in TABLES[table].items() if TABLES[table] else [("", "")]:
            value = row.get(column, "") if column else ""
            if column and not value and dimension in OF_SOME:
                continue
            total = sums.setdefault((day, dimension, _text(dimension, value)), [0] * len(METRICS))
            for place, count in enumerate(_metrics(row)):
                total[place] += count
    seen |= days


def _text(dimension: str, value: str) -> str:
    if dimension == "device":
        return {"laptop": "desktop"}.get(value.lower(), value.lower())
    return (value.rstrip("/") or "/" if dimension in {"page", "entry_page", "exit_page"} else value)[
        : string_dictionary.MAX_TEXT
    ].replace("\x00", "")


def _metrics(row: dict[str, str]) -> list[int]:
    """In the order of `METRICS`."""

    def read(*names: str) -> int:
        return next((int(row[name]) for name in names if row.get(name)), 0)

    visits = read("visits", "entrances", "exits")
    seconds = read("visit_duration")
    engaged = 1000 * read("total_time_on_page", "time_on_page")
    return [read("visitors"), visits, read("pageviews"), read("events"), read("bounces"), seconds, engaged]


def add_sums(target: Target, sums: Sums) -> None:
    """Keep Plausible's days as they are, in one transaction; a second run puts the same in their place.

    Days with events of their own stay.
    """
    today = local_day(target.now, target.zone)
    days = {day for day, _, _ in sums if day < min(today, target.until or today)}
    late = {day for day, _, _ in sums} - days
    target.counted.update({"too_late": len(late)} if late else {})
    with transaction.atomic():
        taken = sql_store.days_with_events(target.number, days, target.zone)
        wanted = {(target.number, DIMENSIONS[name].sort, text) for _, name, text in sums if name and text}
        numbers = string_dictionary.resolve(wanted, today=target.now.date())
        rows = []
        for (day, name, text), values in sums.items():
            if day in taken or day not in days:
                continue
            term = (
                numbers[target.number, DIMENSIONS[name].sort, text]
                if name and text
                else sql_store.UNKNOWN
                if name
                else sql_store.BEYOND
            )
            rows.append((day, DIMENSIONS[name].number if name else 0, term, values))
        sql_store.put_days(target.number, rows)
    target.counted["days"] = len(days - taken)
    target.counted["days_with_events"] = len(taken)
