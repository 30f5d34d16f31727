"""Writes invented events that resemble real traffic.

They have daily and weekly patterns, few pages with most of the views, returning visitors and crawlers.
"""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from itertools import islice
from random import Random
from typing import Any

from django.db import transaction

from analytics.ingest import writer
from analytics.ingest.stream import Event
from analytics.maintenance import DROP_RETENTION
from analytics.models import Drop, Kind
from analytics.time_zones import day_bounds, start_of_day

BATCH_EVENTS = 5_000
# Relative traffic by hour: a peak in the evening and a lower one at noon.
HOUR_WEIGHTS = [
    math.exp(-(((hour - 20) % 24) ** 2) / 18) + 0.9 * math.exp(-((hour - 12) ** 2) / 20) + 0.06
    for hour in range(24)
]
WEEKDAY_WEIGHTS = [1.0, 1.02, 1.05, 1.03, 0.95, 0.75, 0.8]
TRAFFIC_SOURCES = [
    ("", ""),
    ("Google", "google.com"),
    ("Bing", "bing.com"),
    ("Instagram", "instagram.com"),
    ("X", "t.co/abc"),
    ("newsletter", ""),
]
USER_AGENTS = [
    ("Chrome", "Windows", "desktop"),
    ("Safari", "iOS", "mobile"),
    ("Chrome", "Android", "mobile"),
    ("Firefox", "Linux", "desktop"),
    ("Safari", "macOS", "desktop"),
    ("Safari", "iPadOS", "tablet"),
]
COUNTRIES = [("GB", "GB-ENG"), ("DE", "DE-BE"), ("FR", "FR-IDF"), ("US", "US-NY"), ("", "")]
CHOICE_WEIGHTS = [8, 6, 3, 2, 1.5, 1]
ORDERED_PRODUCTS = ["sourdough", "rye", "cake"]
RETURN_PROBABILITY = 0.15  # of a visitor, on the same day
ENGAGEMENT_PROBABILITY = 0.5  # of a visit
ORDER_PROBABILITY = 0.04  # of a visit


@dataclass
class SimulatedTraffic:
    """The traffic of one site: about `events` events on `days` days, of which the last is `last`.

    `pages` are paths, ordered from the most to the least viewed.
    """

    site_number: int
    pages: list[str]
    days: int
    events: int
    last: date
    zone: str = "UTC"
    # A fixed seed, so that every run invents the same events.
    rng: Random = field(default_factory=lambda: Random(20))  # noqa: S311

    def write(self) -> int:
        """Write the events in batches; return how many were written."""
        total = 0
        rows = self.rows()
        while batch := list(islice(rows, BATCH_EVENTS)):
            with transaction.atomic():
                writer.write_rows(batch)
            total += len(batch)
        self._write_dropped_crawlers()
        return total

    def rows(self) -> Iterator[writer.Row]:
        """The events of all days, as `writer.write_rows()` takes them."""
        days = [self.last - timedelta(days=self.days - 1 - count) for count in range(self.days)]
        weights = [
            WEEKDAY_WEIGHTS[day.weekday()] * (0.7 + 0.6 * number / self.days)
            for number, day in enumerate(days)
        ]
        for day, weight in zip(days, weights, strict=True):
            yield from self._day_rows(day, round(self.events * weight / sum(weights)))

    def _write_dropped_crawlers(self) -> None:
        """Write drop counters as if crawlers had come once a day."""
        days = [self.last - timedelta(days=count) for count in range(min(self.days, DROP_RETENTION.days))]
        drops = [
            Drop(
                site_number=self.site_number,
                hour=start_of_day(day, self.zone) + timedelta(hours=3),
                reason="bot",
                count=1 + self.rng.randrange(self.events // self.days // 5 + 1),
            )
            for day in days
        ]
        Drop.objects.bulk_create(drops, ignore_conflicts=True)

    def _day_rows(self, day: date, count: int) -> Iterator[writer.Row]:
        """At least `count` events of one day."""
        since, until = day_bounds(day, day, self.zone)
        while count > 0:
            hour = self.rng.choices(range(24), HOUR_WEIGHTS)[0]
            at = since + timedelta(hours=hour, seconds=self.rng.random() * 3600)
            visitor = day.toordinal() << 32 | self.rng.getrandbits(31)
            returns = self.rng.random() < RETURN_PROBABILITY
            for _ in range(2 if returns else 1):
                for row in self._visit_rows(visitor, at, until):
                    yield row
                    count -= 1
                at += timedelta(hours=1 + 4 * self.rng.random())

    def _visit_rows(self, visitor: int, at: datetime, until: datetime) -> Iterator[writer.Row]:
        """The page views of one visit, sometimes the viewing time of its last page, and rarely an order."""
        visit = self.rng.getrandbits(62)
        attributes = {"visitor": visitor, **self._visitor_attributes()}
        for number in range(min(12, int(self.rng.paretovariate(1.4)))):
            if at >= until:
                return
            page = self.pages[min(len(self.pages) - 1, int(self.rng.paretovariate(0.9)) - 1)]
            view = attributes if number == 0 else {**attributes, "source": "", "referrer": ""}
            yield self._row(at, visit, Kind.PAGEVIEW, page, view)
            seconds_on_page = self.rng.expovariate(1 / 40)
            at += timedelta(seconds=seconds_on_page + 1)
        if at < until and self.rng.random() < ENGAGEMENT_PROBABILITY:
            engagement = {**attributes, "engaged": int(seconds_on_page * 1000) + 1000}
            yield self._row(at, visit, Kind.ENGAGEMENT, page, engagement)
        if at < until and self.rng.random() < ORDER_PROBABILITY:
            order = {
                "name": "Order",
                "value": f"{self.rng.uniform(5, 60):.2f}",
                "currency": "GBP",
                "props": {"plan": self.rng.choice(ORDERED_PRODUCTS)},
            }
            yield self._row(at, visit, Kind.CUSTOM, page, {**attributes, **order})

    def _visitor_attributes(self) -> dict[str, Any]:
        source, referrer = self.rng.choices(TRAFFIC_SOURCES, CHOICE_WEIGHTS)[0]
        browser, os, device = self.rng.choices(USER_AGENTS, CHOICE_WEIGHTS)[0]
        country, region = self.rng.choices(COUNTRIES, CHOICE_WEIGHTS[:5])[0]
        return {
            "source": source,
            "referrer": referrer,
            "browser": browser,
            "os": os,
            "device": device,
            "country": country,
            "region": region,
            "language": self.rng.choice(["en", "en", "de", "fr"]),
        }

    def _row(self, at: datetime, visit: int, kind: int, page: str, attributes: dict[str, Any]) -> writer.Row:
        event = Event(self.site_number, kind, page, id=self.rng.getrandbits(62), **attributes)
        return at, visit, json.loads(event.to_json())
