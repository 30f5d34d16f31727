"""`manage.py analytics_simulate`: writes invented visits, for demonstrations and measurements."""

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from analytics.reports import rollups
from analytics.selectors import get_time_zones
from analytics.simulation import SimulatedTraffic
from analytics.time_zones import local_day
from core import tenancy
from sites.database_functions import JsonPathQueryArray
from sites.models import Site


class Command(BaseCommand):
    help = (
        "Write invented visits of published sites, with daily and weekly patterns, a few pages with most "
        "of the views, and returning visitors."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--sites", nargs="*", metavar="SUBDOMAIN", help="Published sites. Default: all.")
        parser.add_argument(
            "--days", type=int, default=90, help="Number of days, the last of them yesterday. Default 90."
        )
        parser.add_argument(
            "--events",
            type=int,
            default=20_000,
            help="Approximate number of events of each site. Default 20,000.",
        )
        parser.add_argument(
            "--i-know",
            action="store_true",
            help="Required in production, where invented visits are mixed with real ones.",
        )

    def handle(
        self, *args: Any, sites: list[str] | None, days: int, events: int, i_know: bool, **options: Any
    ) -> None:
        if not settings.DEVELOPMENT and not i_know:
            raise CommandError("This mixes invented visits with real ones. Add --i-know to do it anyway.")
        rows = _list_published_sites(sites)
        if missing := sorted(set(sites or []) - {subdomain for subdomain, _, _ in rows}):
            raise CommandError(f"Not published here: {', '.join(missing)}")
        zones = get_time_zones({number for _, number, _ in rows})
        for subdomain, number, pages in rows:
            zone = zones.get(number, "UTC")
            last = local_day(timezone.now(), zone) - timedelta(days=1)
            written = SimulatedTraffic(number, pages or ["/"], days, events, last, zone).write()
            self.stdout.write(f"{subdomain}: {written} events on {days} days")
        rollups.rebuild_dirty_days(limit=100_000)


def _list_published_sites(subdomains: list[str] | None) -> list[tuple[str, int, list[str]]]:
    """Subdomain, number and page paths of the given published sites, or of all."""
    with tenancy.context(tenancy.SYSTEM):
        sites = Site.objects.published()
        if subdomains:
            sites = sites.filter(subdomain__in=subdomains)
        pages = JsonPathQueryArray("live_release__blueprint", "$.pages[*].path")
        return list(sites.values_list("subdomain", "number", pages))
