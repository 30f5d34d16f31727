"""`manage.py analytics_simulate`: visits that nobody made, for demonstrations and measurements."""

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from analytics.ingest.settings_cache import zones_of
from analytics.reports import rollups
from analytics.reports.time_zones import local_day
from analytics.simulation import Traffic
from core import tenancy
from sites.database_functions import JsonPathQueryArray
from sites.models import Site


class Command(BaseCommand):
    help = "Invent visits of published sites: daily and weekly rhythm, few pages with most of the views, returning visitors."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--sites", nargs="*", metavar="SUBDOMAIN", help="Published sites; all unless told."
        )
        parser.add_argument("--days", type=int, default=90, help="Days that end yesterday. Default 90.")
        parser.add_argument(
            "--events", type=int, default=20_000, help="Events of each site, about. Default 20,000."
        )
        parser.add_argument(
            "--i-know", action="store_true", help="In production, where it mixes inventions with visits."
        )

    def handle(
        self, *args: Any, sites: list[str] | None, days: int, events: int, i_know: bool, **options: Any
    ) -> None:
        if not settings.DEVELOPMENT and not i_know:
            raise CommandError(
                "This mixes inventions with real visits. Say --i-know if that is what you want."
            )
        with tenancy.context(tenancy.SYSTEM):
            found = Site.objects.published().filter(**({"subdomain__in": sites} if sites else {}))
            rows = list(
                found.values_list(
                    "subdomain", "number", JsonPathQueryArray("live_release__blueprint", "$.pages[*].path")
                )
            )
        if missing := sorted(set(sites or []) - {row[0] for row in rows}):
            raise CommandError(f"Not published here: {', '.join(missing)}")
        zones = zones_of({number for _, number, _ in rows})
        for subdomain, number, pages in rows:
            zone = zones.get(number, "UTC")
            last = local_day(timezone.now(), zone) - timedelta(days=1)
            written = Traffic(number, pages or ["/"], days, events, last, zone).write()
            self.stdout.write(f"{subdomain}: {written} events on {days} days")
        rollups.recount(limit=100_000)
