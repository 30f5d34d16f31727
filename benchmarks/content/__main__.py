"""`python -m benchmarks.content` measures SQL and total time of requests, and publish propagation."""

import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import machine
from benchmarks.private_platform import private_platform
from benchmarks.servers import BENCHMARKS_FOLDER

SITE_COUNT = max(1_000, int(os.environ.get("BENCH_SITES") or 0))
RUN_COUNT = 60
LARGE_SITE_PAGES = 200
STATISTICS = ("least", "median", "p95")
RESULTS_FOLDER = BENCHMARKS_FOLDER / "results"

console = Console(highlight=False, width=None if sys.stdout.isatty() else 110)


def main() -> int:
    """Print a table and write the results file. Returns 0 when every request succeeded."""
    # As a web process it uses the connection pool of production.
    os.environ.update(PROCESS="web", WEB_THREADS="2", RATE_LIMIT="10000000")
    busy_share = machine.busy_share()
    if busy_share > 0.15:
        console.print(
            f"Other programs use {busy_share:.0%} of this machine: the numbers will be wrong.", style="yellow"
        )
    with private_platform("content"):
        from django.db import connection

        try:
            results = {
                "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
                "commit": machine.checked_out_commit(),
                "machine": machine.describe_platform(
                    {name: os.environ[name] for name in ("DATABASE_URL", "REDIS_URL")}
                ),
                "busy_before": round(busy_share, 2),
                **measure(),
            }
        finally:
            connection.close_pool()  # type: ignore[attr-defined]
    console.print(results_table(results))
    for name, cost in results["requests"].items():
        if cost["whole_tables"]:
            console.print(f"{name}: reads all of {', '.join(cost['whole_tables'])}.", style="yellow")
    console.print(f"Written to {write_results(results).relative_to(BENCHMARKS_FOLDER.parent)}")
    return 0


def measure() -> dict[str, Any]:
    """Create the sites, and measure requests, stages and propagation."""
    from benchmarks.content import operations, plans, propagation, seed, stages
    from benchmarks.content.meter import InProcessServer, repeat

    console.print(f"Creating {SITE_COUNT} sites of {seed.PAGES_PER_SITE} pages")
    seeded_sites = seed.create_sites(SITE_COUNT)
    large_site = seed.create_large_site(seeded_sites[-1], pages=LARGE_SITE_PAGES)
    seed.analyze()
    process = InProcessServer()
    requests = {}
    for name, (run_once, goal) in operations.list_operations(process, seeded_sites).items():
        console.print(f"  {name}")
        costs = repeat(process, RUN_COUNT, run_once).as_json()
        with plans.record_full_scans() as whole_tables:
            run_once(RUN_COUNT + 3)
        requests[name] = {**costs, "goal_sql_ms": goal, "whole_tables": sorted(whole_tables)}
    console.print(f"  a site of {LARGE_SITE_PAGES} pages")
    return {
        "rows": seed.count_rows(),
        "requests": requests,
        "stages": stages.measure_stages(process, seeded_sites[-1]),
        "large": {
            "pages": LARGE_SITE_PAGES,
            "stages": stages.measure_stages(process, large_site),
            "seen_elsewhere": {
                **propagation.measure_propagation(process, large_site, run_count=RUN_COUNT),
                "goal_s": propagation.GOAL_SECONDS,
            },
        },
    }


def results_table(results: dict[str, Any]) -> Table:
    """The table for the terminal: a row for each request, and one for the propagation of a publish."""
    rendered = Table(
        title=f"Milliseconds at {results['rows']['site']} sites, {results['rows']['database_mib']} MiB"
    )
    for name in (
        "request",
        "SQL least",
        "median",
        "p95",
        "trips",
        "whole least",
        "median",
        "p95",
        "goal",
        "met?",
    ):
        rendered.add_column(name, justify="left" if name in {"request", "met?"} else "right")
    for name, cost in results["requests"].items():
        sql = [f"{cost[f'sql_{part}_ms']:,.1f}" for part in STATISTICS]
        total = [f"{cost[f'whole_{part}_ms']:,.1f}" for part in STATISTICS]
        goal = cost["goal_sql_ms"]
        goal_text = "" if goal is None else f"SQL < {goal:.0f}"
        met = verdict(cost["sql_median_ms"], goal)
        rendered.add_row(name, *sql, str(cost["trips"]), *total, goal_text, met)
    propagation_times = results["large"]["seen_elsewhere"]
    times = [f"{1000 * propagation_times[f'{part}_s']:,.0f}" for part in STATISTICS]
    goal_text = f"p95 < {1000 * propagation_times['goal_s']:,.0f}"
    name = f"{results['large']['pages']} pages, elsewhere"
    rendered.add_row(
        name,
        "",
        "",
        "",
        "",
        *times,
        goal_text,
        verdict(propagation_times["p95_s"], propagation_times["goal_s"]),
    )
    return rendered


def verdict(measured: float, goal: float | None) -> str:
    """Whether the goal was met, in the markup of rich. Empty without a goal."""
    if goal is None:
        return ""
    return "[green]yes[/green]" if measured < goal else "[yellow]no[/yellow]"


def write_results(results: dict[str, Any]) -> Path:
    """Write the results as JSON, and return the path of the file."""
    RESULTS_FOLDER.mkdir(exist_ok=True)
    path = RESULTS_FOLDER / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-content.json"
    path.write_text(json.dumps(results, indent=2) + "\n")
    return path


if __name__ == "__main__":
    sys.exit(main())
