"""Runs wrk against both servers in turn, and computes medians and ratios from the rounds."""

import json
import os
import statistics
import subprocess
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks import machine
from benchmarks.servers import BENCHMARKS_FOLDER, BenchmarkError, BenchmarkServer
from benchmarks.workload import EMAIL, PASSWORD, RequestSpec, Workload

WRK_THREADS = 2
WARM_UP_SECONDS = 2
NOISY_SPREAD = 0.2  # a larger spread of the rounds, as a share of their median, is reported


@dataclass(frozen=True)
class Round:
    """One run of wrk. It is not valid when a request failed or was refused, or when there was no response."""

    requests_per_second: float
    p50_ms: float
    p99_ms: float
    cpu_us: float  # processor time of the server for one response, without the stores and wrk
    requests: int
    bytes: int
    errors: dict[str, int]
    valid: bool


@dataclass
class ServerRounds:
    """The rounds of one server. `body_bytes` is the size of the response body before them."""

    body_bytes: int
    rounds: list[Round] = field(default_factory=list)

    @property
    def requests_per_second(self) -> float:
        return statistics.median(item.requests_per_second for item in self.rounds)

    @property
    def p99_ms(self) -> float:
        return statistics.median(item.p99_ms for item in self.rounds)

    @property
    def cpu_us(self) -> float:
        return statistics.median(item.cpu_us for item in self.rounds)

    @property
    def spread(self) -> float:
        """The distance from the slowest round to the fastest, as a share of the median."""
        speeds = [item.requests_per_second for item in self.rounds]
        return (max(speeds) - min(speeds)) / (self.requests_per_second or 1)

    def as_json(self) -> dict[str, Any]:
        medians = {
            "requests_per_second": round(self.requests_per_second, 1),
            "p99_ms": round(self.p99_ms, 2),
            "cpu_us": round(self.cpu_us, 1),
        }
        return {**medians, "spread": round(self.spread, 3), **asdict(self)}


@dataclass
class Result:
    """The measurements of one workload."""

    workload: Workload
    getyousite: ServerRounds
    yardstick: ServerRounds

    @property
    def ratio(self) -> float:
        """Getyousite's requests per second, divided by the yardstick's. 0 when a round was not valid."""
        if not self.valid:
            return 0.0
        return self.getyousite.requests_per_second / self.yardstick.requests_per_second

    @property
    def valid(self) -> bool:
        return all(item.valid for server in (self.getyousite, self.yardstick) for item in server.rounds)

    @property
    def meets_throughput_goal(self) -> bool:
        return self.ratio >= self.workload.goal

    @property
    def meets_latency_goal(self) -> bool:
        limit = self.workload.p99_goal_ms
        return limit is None or self.getyousite.p99_ms < limit

    @property
    def noisy(self) -> bool:
        return max(self.getyousite.spread, self.yardstick.spread) > NOISY_SPREAD

    def as_json(self) -> dict[str, Any]:
        """The results file. The keys `ours` and `theirs` are those of the files that exist already."""
        return {
            "valid": self.valid,
            "ratio": round(self.ratio, 3),
            "goal": self.workload.goal,
            "p99_goal_ms": self.workload.p99_goal_ms,
            "goals_met": self.valid and self.meets_throughput_goal and self.meets_latency_goal,
            "connections": self.workload.connections,
            "ours": {"asked": asdict(self.workload.getyousite), **self.getyousite.as_json()},
            "theirs": {"asked": asdict(self.workload.yardstick), **self.yardstick.as_json()},
        }


def measure_workload(
    workload: Workload,
    getyousite: BenchmarkServer,
    yardstick: BenchmarkServer,
    *,
    rounds: int,
    seconds: int,
    report: Callable[[str], None],
) -> Result:
    """Verify the responses of both servers, warm both up, and measure them in turn.

    `seconds` is the duration of a round; `report` gets a line about each. Raises BenchmarkError when a server
    gives another response.
    """
    pairs = ((getyousite, workload.getyousite), (yardstick, workload.yardstick))
    result = Result(workload, *(ServerRounds(server.verify_response(spec)) for server, spec in pairs))
    for server, spec in pairs:
        run_wrk(server, spec, workload, seconds=WARM_UP_SECONDS)
    for number in range(1, rounds + 1):
        for (server, spec), server_rounds in zip(pairs, (result.getyousite, result.yardstick), strict=True):
            measured = run_wrk(server, spec, workload, seconds=seconds)
            server_rounds.rounds.append(measured)
            failure = "" if measured.valid else f"  INVALID {measured.errors}"
            speed = f"{measured.requests_per_second:9.1f} requests/s  p99 {measured.p99_ms:7.2f} ms"
            report(f"{workload.name:<7} {number}/{rounds} {server.name:<10} {speed}{failure}")
    return result


def run_wrk(server: BenchmarkServer, spec: RequestSpec, workload: Workload, *, seconds: int) -> Round:
    """Run wrk once against one server. Raises BenchmarkError when wrk fails."""
    paths = server.paths(spec)
    headers = server.headers(spec)
    options = [
        f"-t{min(WRK_THREADS, workload.connections)}",
        f"-c{workload.connections}",
        f"-d{seconds}s",
        "--timeout",
        "5s",
    ]
    script = ["-s", str(BENCHMARKS_FOLDER / workload.script)]
    header_options = [part for name, value in headers.items() for part in ("-H", f"{name}: {value}")]
    body = json.dumps(server.body(spec), separators=(",", ":"))
    cpu_before = machine.cpu_seconds(server.child.process.pid)
    completed = subprocess.run(
        ["wrk", *options, *script, *header_options, f"{server.url}{paths[0]}"],
        env={
            **os.environ,
            "BENCH_FOLDER": str(BENCHMARKS_FOLDER),
            "BENCH_EMAIL": EMAIL,
            "BENCH_PASSWORD": PASSWORD,
            "BENCH_BODY": body,
            "BENCH_PATHS": " ".join(paths),
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds + 30,
    )
    if completed.returncode or not completed.stdout.strip().endswith("}"):
        raise BenchmarkError(f"wrk failed: {(completed.stderr or completed.stdout).strip()[-300:]}")
    cpu_used = machine.cpu_seconds(server.child.process.pid) - cpu_before
    return parse_wrk_report(json.loads(completed.stdout.strip().splitlines()[-1]), cpu_seconds=cpu_used)


def parse_wrk_report(report: dict[str, Any], *, cpu_seconds: float) -> Round:
    """The round that the JSON of load.lua describes."""
    return Round(
        requests_per_second=round(report["requests"] / (report["microseconds"] / 1e6), 1),
        p50_ms=report["p50"] / 1000,
        p99_ms=report["p99"] / 1000,
        cpu_us=round(cpu_seconds * 1e6 / max(1, report["requests"]), 1),
        requests=report["requests"],
        bytes=report["bytes"],
        errors=report["errors"],
        valid=report["requests"] > 0 and not any(report["errors"].values()),
    )
