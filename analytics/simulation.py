"""Traffic that looks like traffic: a week has its rhythm, few pages have most of the views, some visitors
come back, and some are crawlers.
"""

import json
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from itertools import islice
from typing import Any

from django.db import transaction

from analytics.ingest import writer
from analytics.ingest.stream import Event
from analytics.maintenance import DROPS_KEPT
from analytics.models import Drop, Kind
from analytics.reports.time_zones import day_bounds

BATCH = 5_000
HOURS = [
    math.exp(-(((hour - 20) % 24 - 0) ** 2) / 18) + 0.9 * math.exp(-((hour - 12) ** 2) / 20) + 0.06
    for hour in range(24)
]
WEEKDAYS = [1.0, 1.02, 1.05, 1.03, 0.95, 0.75, 0.8]
SOURCES = [
    ("", ""),
    ("Google", "google.com"),
    ("Bing", "bing.com"),
    ("Instagram", "instagram.com"),
    ("X", "t.co/abc"),
    ("newsletter", ""),
]
AGENTS = [
    ("Chrome", "Windows", "desktop"),
    ("Safari", "iOS", "mobile"),
    ("Chrome", "Android", "mobile"),
    ("Firefox", "Linux", "desktop"),
    ("Safari", "macOS", "desktop"),
    ("Safari", "iPadOS", "tablet"),
]
COUNTRIES = [("GB", "GB-ENG"), ("DE", "DE-BE"), ("FR", "FR-IDF"), ("US", "US-NY"), ("", "")]
WEIGHTS = [8, 6, 3, 2, 1.5, 1]
ORDER = {"plan": ["sourdough", "rye", "cake"]}


@dataclass
class Traffic:
    """What one site gets: `pages` from the most to the least looked at, about `events` on `days` that end
    with `last`.
    """

    site_number: int
    pages: list[str]
    days: int
    events: int
    last: date
    zone: str = "UTC"
    # The same inventions each time.
    draw: random.Random = field(default_factory=lambda: random.Random(20))  # noqa: S311

    def write(self) -> int:
        """Write it, in batches; return how many events that were."""
        total = 0
        rows = self.rows()
        while batch := list(islice(rows, BATCH)):
            with transaction.atomic():
                writer.write(batch)
            total += len(batch)
        self.crawl()
        return total

    def crawl(self) -> None:
        """Crawlers came too, and were not counted."""
        days = [self.last - timedelta(days=count) for count in range(min(self.days, DROPS_KEPT.days))]
        drops = [
            Drop(
                site_number=self.site_number,
                hour=day_bounds(day, day, self.zone)[0] + timedelta(hours=3),
                reason="bot",
                count=1 + self.draw.randrange(self.events // self.days // 5 + 1),
            )
            for day in days
        ]
        Drop.objects.bulk_create(drops, ignore_conflicts=True)

    def rows(self) -> Iterator[writer.Row]:
        days = [self.last - timedelta(days=self.days - 1 - count) for count in range(self.days)]
        weights = [
            WEEKDAYS[day.weekday()] * (0.7 + 0.6 * number / self.days) for number, day in enumerate(days)
        ]
        for day, weight in zip(days, weights, strict=True):
            yield from self._day(day, round(self.events * weight / sum(weights)))

    def _day(self, day: date, count: int) -> Iterator[writer.Row]:
        since, until = day_bounds(day, day, self.zone)
        while count > 0:
            at = since + timedelta(
                hours=self.draw.choices(range(24), HOURS)[0], seconds=self.draw.random() * 3600
            )
            visitor = day.toordinal() << 32 | self.draw.getrandbits(31)
            for _ in range(1 + (self.draw.random() < 0.15)):  # some come back the same day
                for row in self._visit(visitor, at, until):
                    yield row
                    count -= 1
                at += timedelta(hours=1 + 4 * self.draw.random())

    def _visit(self, visitor: int, at: datetime, until: datetime) -> Iterator[writer.Row]:
        """Page views of one visit, how long the last was looked at, and now and then an order."""
        visit = self.draw.getrandbits(62)
        facts = {"visitor": visitor, **self._visitor()}
        for number in range(min(12, int(self.draw.paretovariate(1.4)))):
            if at >= until:
                return
            page = self.pages[min(len(self.pages) - 1, int(self.draw.paretovariate(0.9)) - 1)]
            yield self._row(
                at,
                visit,
                Kind.PAGEVIEW,
                page,
                facts if number == 0 else {**facts, "source": "", "referrer": ""},
            )
            stay = self.draw.expovariate(1 / 40)
            at += timedelta(seconds=stay + 1)
        if at < until and self.draw.random() < 0.5:
            yield self._row(at, visit, Kind.ENGAGEMENT, page, {**facts, "engaged": int(stay * 1000) + 1000})
        if at < until and self.draw.random() < 0.04:
            order = {
                "name": "Order",
                "value": f"{self.draw.uniform(5, 60):.2f}",
                "currency": "GBP",
                "props": {"plan": self.draw.choice(ORDER["plan"])},
            }
            yield self._row(at, visit, Kind.CUSTOM, page, {**facts, **order})

    def _visitor(self) -> dict[str, Any]:
        source, referrer = self.draw.choices(SOURCES, WEIGHTS)[0]
        browser, os, device = self.draw.choices(AGENTS, WEIGHTS)[0]
        country, region = self.draw.choices(COUNTRIES, WEIGHTS[:5])[0]
        return {
            "source": source,
            "referrer": referrer,
            "browser": browser,
            "os": os,
            "device": device,
            "country": country,
            "region": region,
            "language": self.draw.choice(["en", "en", "de", "fr"]),
        }

    def _row(self, at: datetime, visit: int, kind: int, page: str, facts: dict[str, Any]) -> writer.Row:
        event = Event(self.site_number, kind, page, id=self.draw.getrandbits(62), **facts)
        return at, visit, json.loads(event.packed())
