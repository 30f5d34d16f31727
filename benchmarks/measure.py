"""Rounds of wrk, ours and theirs in turn, and what is made of them."""

import json
import os
import statistics
import subprocess
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks import machine
from benchmarks.contestants import FOLDER, BenchRefused, Contestant
from benchmarks.workload import EMAIL, PASSWORD, Ask, Workload

THREADS = 2
WARM_UP_SECONDS = 2
NOISY = 0.2  # rounds further apart than this share of their median are called out


@dataclass(frozen=True)
class Round:
    """One run of wrk. Not valid when anything failed, was refused, or nothing was answered."""

    requests_per_second: float
    p50_ms: float
    p99_ms: float
    cpu_us: float  # processor time of the server for one answer; the stores and wrk not counted
    requests: int
    bytes: int
    errors: dict[str, int]
    valid: bool


@dataclass
class Side:
    """The rounds of one contestant, and the size in bytes of the body that it answered with before them."""

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

    def facts(self) -> dict[str, Any]:
        medians = {
            "requests_per_second": round(self.requests_per_second, 1),
            "p99_ms": round(self.p99_ms, 2),
            "cpu_us": round(self.cpu_us, 1),
        }
        return {**medians, "spread": round(self.spread, 3), **asdict(self)}


@dataclass
class Result:
    """A workload, measured."""

    workload: Workload
    ours: Side
    theirs: Side

    @property
    def ratio(self) -> float:
        return self.ours.requests_per_second / self.theirs.requests_per_second if self.valid else 0.0

    @property
    def valid(self) -> bool:
        return all(item.valid for side in (self.ours, self.theirs) for item in side.rounds)

    @property
    def fast_enough(self) -> bool:
        return self.ratio >= self.workload.goal

    @property
    def quick_enough(self) -> bool:
        limit = self.workload.p99_goal_ms
        return limit is None or self.ours.p99_ms < limit

    @property
    def noisy(self) -> bool:
        return max(self.ours.spread, self.theirs.spread) > NOISY

    def facts(self) -> dict[str, Any]:
        return {
            "valid": self.valid,
            "ratio": round(self.ratio, 3),
            "goal": self.workload.goal,
            "p99_goal_ms": self.workload.p99_goal_ms,
            "goals_met": self.valid and self.fast_enough and self.quick_enough,
            "connections": self.workload.connections,
            "ours": {"asked": asdict(self.workload.ours), **self.ours.facts()},
            "theirs": {"asked": asdict(self.workload.theirs), **self.theirs.facts()},
        }


def measure(
    workload: Workload,
    ours: Contestant,
    theirs: Contestant,
    *,
    rounds: int,
    seconds: int,
    report: Callable[[str], None],
) -> Result:
    """Check both, warm both up, then measure them in turn.

    Raises BenchRefused when one gives another answer.
    """
    pairs = ((ours, workload.ours), (theirs, workload.theirs))
    result = Result(workload, *(Side(contestant.check(ask)) for contestant, ask in pairs))
    for contestant, ask in pairs:
        load(contestant, ask, workload, seconds=WARM_UP_SECONDS)
    for number in range(1, rounds + 1):
        for (contestant, ask), side in zip(pairs, (result.ours, result.theirs), strict=True):
            measured = load(contestant, ask, workload, seconds=seconds)
            side.rounds.append(measured)
            failed = "" if measured.valid else f"  INVALID {measured.errors}"
            speed = f"{measured.requests_per_second:9.1f} requests/s  p99 {measured.p99_ms:7.2f} ms"
            report(f"{workload.name:<7} {number}/{rounds} {contestant.name:<6} {speed}{failed}")
    return result


def load(contestant: Contestant, ask: Ask, workload: Workload, *, seconds: int) -> Round:
    """One run of wrk against one contestant."""
    path, headers = contestant.request(ask)
    options = [f"-t{THREADS}", f"-c{workload.connections}", f"-d{seconds}s", "--timeout", "5s"]
    script = ["-s", str(FOLDER / workload.script)]
    sent = [part for name, value in headers.items() for part in ("-H", f"{name}: {value}")]
    body = json.dumps(contestant.body(ask), separators=(",", ":"))
    used = machine.cpu_seconds(contestant.child.process.pid)
    done = subprocess.run(
        ["wrk", *options, *script, *sent, f"{contestant.url}{path}"],
        env={
            **os.environ,
            "BENCH_FOLDER": str(FOLDER),
            "BENCH_EMAIL": EMAIL,
            "BENCH_PASSWORD": PASSWORD,
            "BENCH_BODY": body,
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds + 30,
    )
    if done.returncode or not done.stdout.strip().endswith("}"):
        raise BenchRefused(f"wrk failed: {(done.stderr or done.stdout).strip()[-300:]}")
    used = machine.cpu_seconds(contestant.child.process.pid) - used
    return read(json.loads(done.stdout.strip().splitlines()[-1]), cpu_seconds=used)


def read(seen: dict[str, Any], *, cpu_seconds: float) -> Round:
    """What load.lua printed."""
    return Round(
        requests_per_second=round(seen["requests"] / (seen["microseconds"] / 1e6), 1),
        p50_ms=seen["p50"] / 1000,
        p99_ms=seen["p99"] / 1000,
        cpu_us=round(cpu_seconds * 1e6 / max(1, seen["requests"]), 1),
        requests=seen["requests"],
        bytes=seen["bytes"],
        errors=seen["errors"],
        valid=seen["requests"] > 0 and not any(seen["errors"].values()),
    )
