"""`python -m benchmarks.audit`: cost of `record` for each write, and rows verified each second of one core."""

import json
import os
import statistics
import sys
import time

from rich.console import Console

from benchmarks.private import private

ROWS = int(os.environ.get("BENCH_ROWS") or 40_000)
PAIRS = 2_000


def main() -> int:
    """Measure on a private PostgreSQL with durable defaults; print and keep the numbers."""
    with private("audit"):
        facts = {"record_added_ms": record_cost(), **verify_rate()}
    Console().print_json(json.dumps(facts))
    return 0 if facts["good"] else 1


def record_cost() -> float:
    """Milliseconds that `record` adds to a transaction of one write: median of pairs, taken in turn."""
    from django.db import connection, transaction

    from audit.actors import SYSTEM
    from audit.services import record
    from audit.subjects import Subject
    from core.ids import uuid7

    subject = Subject("thing", uuid7(), "A label")

    def write(number: int, *, recorded: bool) -> float:
        with transaction.atomic():
            started = time.perf_counter()
            with connection.cursor() as cursor:
                cursor.execute(
                    "INSERT INTO core_slot (job, slot) VALUES (%s, now()) ON CONFLICT (job) DO UPDATE SET slot = EXCLUDED.slot",
                    [f"bench{number % 50}"],
                )
            if recorded:
                record("thing.done", actor=SYSTEM, subject=subject, number=number)
            return time.perf_counter() - started

    pairs = [(write(number, recorded=False), write(number, recorded=True)) for number in range(PAIRS)]
    return round(1000 * statistics.median(with_it - without for without, with_it in pairs), 3)


def verify_rate() -> dict[str, float | int | bool]:
    """Fill the chain to `ROWS` entries and verify all of it."""
    from django.db import transaction
    from django.utils import timezone

    from audit.actors import SYSTEM
    from audit.chain import sealing
    from audit.chain.verification import verify_trail
    from audit.models import Seal
    from audit.services import record
    from audit.subjects import Subject
    from core.ids import uuid7

    rate = 0.0
    while Seal.objects.count() < ROWS:
        with transaction.atomic():
            for number in range(5_000):
                record(
                    "thing.done", actor=SYSTEM, subject=Subject("thing", uuid7(), "A label"), number=number
                )
        started = time.perf_counter()
        sealed = sealing.seal_pending()
        rate = sealed / (time.perf_counter() - started)
    started = time.perf_counter()
    cpu = time.process_time()
    verdict = verify_trail(now=timezone.now())
    wall = time.perf_counter() - started
    cpu = time.process_time() - cpu
    return {
        "rows": verdict.rows,
        "good": verdict.good,
        "verified_rows_per_second": round(verdict.rows / wall),
        "verified_rows_per_cpu_second": round(verdict.rows / cpu),
        "sealed_rows_per_second": round(rate),
    }


if __name__ == "__main__":
    sys.exit(main())
