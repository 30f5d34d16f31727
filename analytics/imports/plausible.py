"""Parses and stores the daily sums that Plausible exported. Its exports contain no single events."""

import csv
import re
from collections.abc import Iterable
from datetime import date

from django.db import transaction

from analytics.imports.events import ImportTarget
from analytics.ingest import string_dictionary
from analytics.reports import rollup_sql
from analytics.reports.dimensions import DIMENSIONS, METRICS, OPTIONAL_DIMENSIONS
from analytics.reports.sql_fragments import OTHER_TERM, UNKNOWN_TERM
from analytics.time_zones import local_day

# The tables of an export, and for each the dimensions here by the column there.
DIMENSIONS_BY_TABLE = {
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
PAGE_DIMENSIONS = {"page", "entry_page", "exit_page"}
DEVICE_NAMES = {"laptop": "desktop"}
TABLE_FILE_NAME = re.compile(r"(imported_[a-z_]+?)(_\d{8}_\d{8})?\.csv")

# By day, dimension and text: values in the order of METRICS. Sums of a whole day have an empty dimension.
Sums = dict[tuple[date, str, str], list[int]]


def parse_table_name(path: str) -> str:
    """The table of a file such as `imported_pages_20240101_20240131.csv`; empty for another file."""
    match = TABLE_FILE_NAME.fullmatch(path.rpartition("/")[2])
    return match[1] if match and match[1] in DIMENSIONS_BY_TABLE else ""


def add_table(table: str, lines: Iterable[str], sums: Sums, parsed_days: set[tuple[str, date]]) -> None:
    """Add one CSV file to `sums`, and its table and days to `parsed_days`.

    Raises ValueError for a file that is not such a table, or has days that an earlier file had.
    """
    reader = csv.DictReader(lines)
    days = set()
    if "date" not in (reader.fieldnames or []):
        raise ValueError(f"{table} has no column `date`.")
    for row in reader:
        day = date.fromisoformat(row["date"])
        days.add((table, day))
        if (table, day) in parsed_days:
            raise ValueError(f"{day} is in another file, too.")
        _add_row(table, day, row, sums)
    parsed_days |= days


def _add_row(table: str, day: date, row: dict[str, str], sums: Sums) -> None:
    """Add the metrics of a row to the sums of each of its dimensions. Raises ValueError."""
    for column, dimension in (DIMENSIONS_BY_TABLE[table] or {"": ""}).items():
        value = row.get(column, "") if column else ""
        if column and not value and dimension in OPTIONAL_DIMENSIONS:
            continue
        total = sums.setdefault((day, dimension, _normalize_text(dimension, value)), [0] * len(METRICS))
        for position, count in enumerate(_parse_metrics(row)):
            total[position] += count


def _normalize_text(dimension: str, value: str) -> str:
    """A value of a dimension as events have it."""
    if dimension == "device":
        return DEVICE_NAMES.get(value.lower(), value.lower())
    if dimension in PAGE_DIMENSIONS:
        value = value.rstrip("/") or "/"
    return value[: string_dictionary.MAX_TEXT_CHARACTERS].replace("\x00", "")


def _parse_metrics(row: dict[str, str]) -> list[int]:
    """The metrics of a row in the order of `METRICS`, without `views`, which Plausible does not export."""

    def first_number(*columns: str) -> int:
        return next((int(row[column]) for column in columns if row.get(column)), 0)

    return [
        first_number("visitors"),
        first_number("visits", "entrances", "exits"),
        first_number("pageviews"),
        first_number("events"),
        first_number("bounces"),
        first_number("visit_duration"),
        1000 * first_number("total_time_on_page", "time_on_page"),
    ]


def store_sums(target: ImportTarget, sums: Sums) -> None:
    """Store the sums of past days, in one transaction. A second run replaces them by the same.

    Days that have events here keep the sums of these. `target.outcomes` counts the days.
    """
    all_days = {day for day, _, _ in sums}
    today = local_day(target.now, target.zone)
    days = {day for day in all_days if day < min(today, target.until or today)}
    if all_days - days:
        target.outcomes["too_late"] += len(all_days - days)
    with transaction.atomic():
        days_with_events = rollup_sql.list_days_with_events(target.site_number, days, target.zone)
        keys = {
            (target.site_number, DIMENSIONS[dimension].sort, text)
            for _, dimension, text in sums
            if dimension and text
        }
        term_ids = string_dictionary.get_or_create_term_ids(keys, today=target.now.date())
        rows = []
        for (day, dimension, text), values in sums.items():
            if day not in days or day in days_with_events:
                continue
            term = OTHER_TERM
            if dimension:
                key = (target.site_number, DIMENSIONS[dimension].sort, text)
                term = term_ids[key] if text else UNKNOWN_TERM
            rows.append((day, DIMENSIONS[dimension].number if dimension else 0, term, values))
        rollup_sql.replace_imported_days(target.site_number, rows)
    target.outcomes["days"] = len(days - days_with_events)
    target.outcomes["days_with_events"] = len(days_with_events)
