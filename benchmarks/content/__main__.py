"""`python -m benchmarks.content`: SQL and whole time of each request at size, and how soon a publish is seen
elsewhere.
"""

import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import machine
from benchmarks.contestants import FOLDER
from benchmarks.private import private

SITES = max(1_000, int(os.environ.get("BENCH_SITES") or 0))
RUNS = 60
LARGE_PAGES = 200
PARTS = ("least", "median", "p95")
RESULTS = FOLDER / "results"

console = Console(highlight=False, width=None if sys.stdout.isatty() else 110)


def main() -> int:
    """0 when everything answered, whatever the goals."""
    os.environ.update(
        PROCESS="web", WEB_THREADS="2", RATE_LIMIT="10000000"
    )  # with the connection pool of production
    busy = machine.busy()
    if busy > 0.15:
        console.print(
            f"Something else takes {busy:.0%} of this machine: the numbers will be off.", style="yellow"
        )
    with private("content"):
        from django.db import connection

        try:
            facts = {
                "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
                "commit": machine.commit(),
                "machine": machine.stores_and_us(
                    {name: os.environ[name] for name in ("DATABASE_URL", "REDIS_URL")}
                ),
                "busy_before": round(busy, 2),
                **measure(),
            }
        finally:
            connection.close_pool()  # type: ignore[attr-defined]
    console.print(table(facts))
    for name, cost in facts["requests"].items():
        if cost["whole_tables"]:
            console.print(f"{name}: reads all of {', '.join(cost['whole_tables'])}.", style="yellow")
    console.print(f"Kept in {keep(facts).relative_to(FOLDER.parent)}")
    return 0


def measure() -> dict[str, Any]:
    """Fill the stores, then ask."""
    from benchmarks.content import operations, plans, profile, seed, spread
    from benchmarks.content.meter import Process, repeat

    console.print(f"Making {SITES} sites of {seed.PAGES} pages")
    places = seed.fill(SITES)
    large = seed.large(places[-1], pages=LARGE_PAGES)
    seed.analyze()
    process = Process()
    asked = {}
    for name, (once, goal) in operations.operations(process, places).items():
        console.print(f"  {name}")
        costs = repeat(process, RUNS, once).facts()
        with plans.watched() as whole_tables:
            once(RUNS + 3)
        asked[name] = {**costs, "goal_sql_ms": goal, "whole_tables": sorted(whole_tables)}
    console.print(f"  a site of {LARGE_PAGES} pages")
    return {
        "rows": seed.rows(),
        "requests": asked,
        "stages": profile.profile(process, places[-1]),
        "large": {
            "pages": LARGE_PAGES,
            "stages": profile.profile(process, large),
            "seen_elsewhere": {**spread.spread(process, large, runs=RUNS), "goal_s": spread.GOAL_SECONDS},
        },
    }


def table(facts: dict[str, Any]) -> Table:
    """What people read."""
    made = Table(title=f"Milliseconds at {facts['rows']['site']} sites, {facts['rows']['database_mib']} MiB")
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
        made.add_column(name, justify="left" if name in {"request", "met?"} else "right")
    for name, cost in facts["requests"].items():
        sql, whole = ([f"{cost[f'{kind}_{part}_ms']:,.1f}" for part in PARTS] for kind in ("sql", "whole"))
        goal = cost["goal_sql_ms"]
        wanted = "" if goal is None else f"SQL < {goal:.0f}"
        made.add_row(name, *sql, str(cost["trips"]), *whole, wanted, verdict(cost["sql_median_ms"], goal))
    seen = facts["large"]["seen_elsewhere"]
    times = [f"{1000 * seen[f'{part}_s']:,.0f}" for part in PARTS]
    goal = f"p95 < {1000 * seen['goal_s']:,.0f}"
    name = f"{facts['large']['pages']} pages, elsewhere"
    made.add_row(name, "", "", "", "", *times, goal, verdict(seen["p95_s"], seen["goal_s"]))
    return made


def verdict(found: float, goal: float | None) -> str:
    if goal is None:
        return ""
    return "[green]yes[/green]" if found < goal else "[yellow]no[/yellow]"


def keep(facts: dict[str, Any]) -> Path:
    """Write the results file."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-content.json"
    path.write_text(json.dumps(facts, indent=2) + "\n")
    return path


if __name__ == "__main__":
    sys.exit(main())
