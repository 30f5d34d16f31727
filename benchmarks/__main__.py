"""`python -m benchmarks [workload ...]`: measure, print the table, keep the numbers in benchmarks/results/."""

import argparse
import fcntl
import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import contestants, health, intake, login, machine, page, site, sites
from benchmarks.contestants import BenchRefused
from benchmarks.measure import THREADS, Result, measure

WORKLOADS = {module.WORKLOAD.name: module.WORKLOAD for module in (page, health, site, sites, intake, login)}
VAR = contestants.ROOT / "var" / "bench"
RESULTS = contestants.FOLDER / "results"
BUSY = 0.15  # a share of the processors that other programs may take before we say so
STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

console = Console(highlight=False, width=None if sys.stdout.isatty() else 110)


def main() -> int:
    """0 when every run was valid, whatever the goals; 1 when one was not."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("workload", nargs="*", help=f"default: {' '.join(WORKLOADS)}")
    names = parser.parse_args().workload or list(WORKLOADS)
    if unknown := sorted(set(names) - set(WORKLOADS)):
        parser.error(f"no such workload: {', '.join(unknown)} (there are {', '.join(WORKLOADS)})")
    seconds = number("BENCH_SECONDS", 8)
    rounds = number("BENCH_ROUNDS", 3)
    contestants.check_programs()
    for stop in STOPS:
        signal.signal(stop, interrupt)
    try:
        with alone():
            contestants.install_yardstick()
            facts, results = run(names, seconds=seconds, rounds=rounds)
    except KeyboardInterrupt:
        console.print("Stopped; nothing was kept.")
        return 130
    console.print(table(results))
    for result in results:
        if result.noisy:
            console.print(
                f"{result.workload.name}: rounds far apart; measure again on a quiet machine.", style="yellow"
            )
    console.print(f"Kept in {keep(facts, results).relative_to(contestants.ROOT)}")
    return 0 if all(result.valid for result in results) else 1


def run(names: list[str], *, seconds: int, rounds: int) -> tuple[dict[str, Any], list[Result]]:
    """Start everything, measure the named workloads, stop everything."""
    share = machine.busy()
    if share > BUSY:
        console.print(
            f"Something else takes {share:.0%} of this machine: the numbers will be off.", style="yellow"
        )
    console.print("Starting PostgreSQL, Redis, our web process and the yardstick")
    with (
        contestants.stores(VAR) as urls,
        contestants.ours(urls, VAR) as ours,
        contestants.theirs(urls) as theirs,
    ):
        facts = {
            "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "commit": machine.commit(),
            "machine": machine.facts(urls),
            "busy_before": round(share, 2),
            "settings": {
                "workers": contestants.WORKERS,
                "seconds": seconds,
                "rounds": rounds,
                "wrk_threads": THREADS,
            },
        }
        return facts, [
            measure(WORKLOADS[name], ours, theirs, seconds=seconds, rounds=rounds, report=console.print)
            for name in names
        ]


def table(results: list[Result]) -> Table:
    """What people read."""
    made = Table(title="Requests per second, median of the rounds")
    for name in ("workload", "ours", "theirs", "ratio", "goal", "met?", "our p99 ms", "CPU µs"):
        made.add_column(name, justify="left" if name in {"workload", "met?"} else "right")
    for result in results:
        speeds = [f"{side.requests_per_second:,.1f}" for side in (result.ours, result.theirs)]
        goal = f"≥ {result.workload.goal:.2f}"
        latency = f"{result.ours.p99_ms:,.2f}"
        cpu = f"{result.ours.cpu_us:,.0f} : {result.theirs.cpu_us:,.0f}"
        made.add_row(
            result.workload.name, *speeds, f"{result.ratio:.2f}", goal, verdict(result), latency, cpu
        )
    return made


def verdict(result: Result) -> str:
    if not result.valid:
        return "[red]INVALID[/red]"
    missed = [
        "" if result.fast_enough else "speed",
        "" if result.quick_enough else f"p99 ≥ {result.workload.p99_goal_ms:.0f} ms",
    ]
    return f"[yellow]no: {', '.join(filter(None, missed))}[/yellow]" if any(missed) else "[green]yes[/green]"


def keep(facts: dict[str, Any], results: list[Result]) -> Path:
    """Write the results file."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}.json"
    workloads = {result.workload.name: result.facts() for result in results}
    path.write_text(json.dumps({**facts, "workloads": workloads}, indent=2) + "\n")
    return path


def number(name: str, default: int) -> int:
    """A whole number of at least 1 from the environment. Raises BenchRefused."""
    value = os.environ.get(name) or str(default)
    if not value.isdecimal() or int(value) < 1:
        raise BenchRefused(f"{name} must be a whole number of at least 1.")
    return int(value)


@contextmanager
def alone() -> Iterator[None]:
    """One benchmark at a time, and never on the stores that the environment names. Raises BenchRefused."""
    for name in ("DATABASE_URL", "REDIS_URL"):
        os.environ.pop(name, None)
    VAR.mkdir(parents=True, exist_ok=True)
    with (VAR / "lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BenchRefused("Another benchmark runs already.") from None
        yield


def interrupt(received: int, frame: object) -> None:
    """Stop in order, once: a second Ctrl-C does not break the stopping."""
    for stop in STOPS:
        signal.signal(stop, signal.SIG_IGN)
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
