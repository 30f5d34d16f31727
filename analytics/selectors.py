"""Reads of what owners chose and saved for their sites, and of events that were not counted."""

from collections import Counter
from typing import Any

from analytics.models import Annotation, Drop, Settings
from analytics.time_zones import DateRange, day_bounds, local_day
from core import tenancy
from sites.models import Release, Site


def get_time_zones(numbers: set[int]) -> dict[int, str]:
    """The time zones of sites by their number; sites without settings are missing. One query.

    Works in any tenancy context.
    """
    with tenancy.context(tenancy.SYSTEM):
        rows = Settings.objects.filter(site__number__in=numbers).values_list("site__number", "timezone")
        return dict(rows)


def get_settings(site: Site) -> Settings:
    """The analytics settings of a site, or an unsaved row with the defaults. One query."""
    return Settings.objects.filter(site=site).first() or Settings(site=site)


def list_annotations_and_releases(site: Site, date_range: DateRange) -> list[dict[str, Any]]:
    """The annotations and the releases of a range of days, oldest first.

    The newest `MAX_LISTED_NOTES` of each. Two queries.
    """
    since, until = day_bounds(date_range.first, date_range.last, date_range.zone)
    annotations = Annotation.objects.filter(site=site, day__gte=date_range.first, day__lte=date_range.last)
    releases = Release.objects.filter(site=site, created_at__gte=since, created_at__lt=until)
    notes = [
        {"id": row.pk, "kind": "note", "day": row.day, "text": row.text}
        for row in annotations.order_by("-day", "-id")[:MAX_LISTED_NOTES]
    ]
    for number, note, at in releases[:MAX_LISTED_NOTES].values_list("number", "note", "created_at"):
        text = f"Release {number}: {note}" if note else f"Release {number}"
        notes.append({"id": None, "kind": "publish", "day": local_day(at, date_range.zone), "text": text})
    return sorted(notes, key=lambda note: (note["day"], note["kind"]))


def count_drops_by_reason(date_range: DateRange) -> list[dict[str, Any]]:
    """Events that were not counted, by reason, the most frequent first. Up to a minute old."""
    since, until = day_bounds(date_range.first, date_range.last, date_range.zone)
    drops = Drop.objects.filter(site_number=date_range.site_number, hour__gte=since, hour__lt=until)
    counts: Counter[str] = Counter()
    for reason, count in drops.values_list("reason", "count"):
        counts[reason] += count
    return [{"reason": reason, "count": count} for reason, count in counts.most_common()]


MAX_LISTED_NOTES = 200  # annotations beside one report, and as many releases
