"""On what, and of what, the numbers are: without these they cannot be compared."""

import json
import os
import platform
import re
import subprocess
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psycopg
import redis

from benchmarks.contestants import ROOT, YARDSTICK


def facts(urls: dict[str, str]) -> dict[str, Any]:
    """Machine and versions of everything that is compared."""
    return {
        **stores_and_us(urls),
        "node": _first_line("node", "--version").removeprefix("v"),
        "wrk": " ".join(_first_line("wrk", "--version").split()[:2]),
        "fastify": json.loads((YARDSTICK / "node_modules/fastify/package.json").read_text())["version"],
    }


def stores_and_us(urls: dict[str, str]) -> dict[str, Any]:
    """Machine and versions without the yardstick's. The stores are asked for theirs."""
    with psycopg.connect(urls["DATABASE_URL"]) as connection:
        row = connection.execute("SHOW server_version").fetchone()
    with redis.Redis.from_url(urls["REDIS_URL"]) as client:
        redis_version = client.info("server")["redis_version"]
    memory = re.search(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text())
    packages = ("django", "djangorestframework", "granian")
    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(int(memory.group(1)) / 1024**2, 1) if memory else None,
        "kernel": platform.release(),
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
        "postgres": row[0] if row else None,
        "redis": redis_version,
    }


def commit() -> str | None:
    """The commit that is checked out, read from `.git`; None outside a repository."""
    folder = ROOT / ".git"
    try:
        head = (folder / "HEAD").read_text().strip()
        if not head.startswith("ref: "):
            return head
        name = head.removeprefix("ref: ")
        if (folder / name).exists():
            return (folder / name).read_text().strip()
        lines = (folder / "packed-refs").read_text().splitlines()
        return next((line.split()[0] for line in lines if line.endswith(f" {name}")), None)
    except OSError:
        return None


def busy(seconds: float = 1.0) -> float:
    """The share of the processors' time that others take while we wait."""
    before = _ticks()
    time.sleep(seconds)
    after = _ticks()
    spent = [new - old for old, new in zip(before, after, strict=True)]
    return 1 - (spent[3] + spent[4]) / max(1, sum(spent))  # idle and waiting for disks (proc(5))


def cpu_seconds(root: int) -> float:
    """The processor time that a process and all below it have used.

    A busy machine slows a run, but hardly moves this.
    """
    parents = {}
    ticks = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:  # it ended while we looked
            continue
        parents[int(folder.name)] = int(fields[1])
        ticks[int(folder.name)] = int(fields[11]) + int(fields[12])
    below = {root}
    grown = True
    while grown:
        more = {pid for pid, parent in parents.items() if parent in below} - below
        below = below | more
        grown = bool(more)
    return sum(ticks.get(pid, 0) for pid in below) / os.sysconf("SC_CLK_TCK")


def _ticks() -> list[int]:
    with open("/proc/stat") as file:
        return [int(part) for part in file.readline().split()[1:9]]


def _cpu() -> str:
    found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    return found.group(1) if found else platform.processor()


def _first_line(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return (done.stdout or done.stderr).strip().splitlines()[0]
