"""`python -m benchmarks [workload ...]` measures, prints a table and writes a file to benchmarks/results/."""

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

from benchmarks import (
    block,
    cold_site,
    health,
    intake,
    login,
    machine,
    mixed,
    page,
    post,
    posts,
    servers,
    site,
    sites,
    static,
    vault_item,
)
from benchmarks.measure import WRK_THREADS, Result, measure_workload
from benchmarks.servers import BenchmarkError

MODULES = (
    page,
    static,
    health,
    site,
    sites,
    posts,
    cold_site,
    vault_item,
    block,
    post,
    intake,
    mixed,
    login,
)
WORKLOADS = {module.WORKLOAD.name: module.WORKLOAD for module in MODULES}
VAR_DIR = servers.ROOT / "var" / "bench"
RESULTS_FOLDER = servers.BENCHMARKS_FOLDER / "results"
MAX_BUSY_SHARE = 0.15  # when other programs use a larger share of the processors, a warning is printed
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

console = Console(highlight=False, width=None if sys.stdout.isatty() else 110)


def main() -> int:
    """Return 0 when every round was valid, even if a goal was missed; 1 otherwise; 130 when interrupted."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("workload", nargs="*", help=f"default: {' '.join(WORKLOADS)}")
    names = parser.parse_args().workload or list(WORKLOADS)
    if unknown := sorted(set(names) - set(WORKLOADS)):
        parser.error(f"no such workload: {', '.join(unknown)} (there are {', '.join(WORKLOADS)})")
    seconds = positive_integer("BENCH_SECONDS", 8)
    rounds = positive_integer("BENCH_ROUNDS", 3)
    servers.require_programs()
    for stop_signal in STOP_SIGNALS:
        signal.signal(stop_signal, stop_once)
    try:
        with exclusive_run():
            servers.install_yardstick()
            run_info, results = run_workloads(names, seconds=seconds, rounds=rounds)
    except KeyboardInterrupt:
        console.print("Stopped; no results were written.")
        return 130
    console.print(results_table(results))
    for result in results:
        if result.noisy:
            console.print(
                f"{result.workload.name}: rounds far apart; measure again on a quiet machine.", style="yellow"
            )
    console.print(f"Written to {write_results(run_info, results).relative_to(servers.ROOT)}")
    return 0 if all(result.valid for result in results) else 1


def run_workloads(names: list[str], *, seconds: int, rounds: int) -> tuple[dict[str, Any], list[Result]]:
    """Start the stores and both servers, measure the named workloads, and stop everything.

    Returns the description of the run (machine, versions, settings) and the results.
    """
    share = machine.busy_share()
    if share > MAX_BUSY_SHARE:
        console.print(
            f"Other programs use {share:.0%} of this machine: the numbers will be wrong.", style="yellow"
        )
    console.print("Starting PostgreSQL, Redis, our web process and the yardstick")
    with (
        servers.start_stores(VAR_DIR) as urls,
        servers.start_getyousite(urls, VAR_DIR) as getyousite,
        servers.start_yardstick(urls, VAR_DIR / "blueprint.json") as fastify,
        servers.start_nginx(getyousite, VAR_DIR) as nginx,
    ):
        yardsticks = {"fastify": fastify, **({"nginx": nginx} if nginx else {})}
        workloads = []
        for name in names:
            if WORKLOADS[name].yardstick_server in yardsticks:
                workloads.append(WORKLOADS[name])
            else:
                console.print(f"{name}: left out, because nginx is not installed.", style="yellow")
        run_info = {
            "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "commit": machine.checked_out_commit(),
            "machine": machine.describe_all(urls),
            "busy_before": round(share, 2),
            "settings": {
                "workers": servers.WORKERS,
                "seconds": seconds,
                "rounds": rounds,
                "wrk_threads": WRK_THREADS,
            },
        }
        results = [
            measure_workload(
                workload,
                getyousite,
                yardsticks[workload.yardstick_server],
                seconds=seconds,
                rounds=rounds,
                report=console.print,
            )
            for workload in workloads
        ]
    return run_info, results


def results_table(results: list[Result]) -> Table:
    """The table for the terminal: a row for each workload."""
    rendered = Table(title="Requests per second, median of the rounds")
    for name in ("workload", "ours", "theirs", "ratio", "goal", "met?", "our p99 ms", "CPU µs"):
        rendered.add_column(name, justify="left" if name in {"workload", "met?"} else "right")
    for result in results:
        getyousite = result.getyousite
        yardstick = result.yardstick
        rendered.add_row(
            result.workload.name,
            f"{getyousite.requests_per_second:,.1f}",
            f"{yardstick.requests_per_second:,.1f}",
            f"{result.ratio:.2f}",
            f"≥ {result.workload.goal:.2f}",
            verdict(result),
            f"{getyousite.p99_ms:,.2f}",
            f"{getyousite.cpu_us:,.0f} : {yardstick.cpu_us:,.0f}",
        )
    return rendered


def verdict(result: Result) -> str:
    """Whether the goals were met, in the markup of rich, with the goals that were missed."""
    if not result.valid:
        return "[red]INVALID[/red]"
    missed = [
        "" if result.meets_throughput_goal else "speed",
        "" if result.meets_latency_goal else f"p99 ≥ {result.workload.p99_goal_ms:.0f} ms",
    ]
    return f"[yellow]no: {', '.join(filter(None, missed))}[/yellow]" if any(missed) else "[green]yes[/green]"


def write_results(run_info: dict[str, Any], results: list[Result]) -> Path:
    """Write the results as JSON, and return the path of the file."""
    RESULTS_FOLDER.mkdir(exist_ok=True)
    path = RESULTS_FOLDER / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}.json"
    workloads = {result.workload.name: result.as_json() for result in results}
    path.write_text(json.dumps({**run_info, "workloads": workloads}, indent=2) + "\n")
    return path


def positive_integer(name: str, default: int) -> int:
    """Read a whole number of at least 1 from the environment. Raises BenchmarkError."""
    value = os.environ.get(name) or str(default)
    if not value.isdecimal() or int(value) < 1:
        raise BenchmarkError(f"{name} must be a whole number of at least 1.")
    return int(value)


@contextmanager
def exclusive_run() -> Iterator[None]:
    """Hold a lock file, so that one benchmark runs at a time. Raises BenchmarkError when another runs.

    Removes DATABASE_URL and REDIS_URL from the environment, so that the stores they name are never used.
    """
    for name in ("DATABASE_URL", "REDIS_URL"):
        os.environ.pop(name, None)
    VAR_DIR.mkdir(parents=True, exist_ok=True)
    with (VAR_DIR / "lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BenchmarkError("Another benchmark is running.") from None
        yield


def stop_once(received: int, frame: object) -> None:
    """Signal handler: stop everything in order, and ignore further signals meanwhile."""
    for stop_signal in STOP_SIGNALS:
        signal.signal(stop_signal, signal.SIG_IGN)
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
