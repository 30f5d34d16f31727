"""`python -m benchmarks.audit` measures what `record` adds to a write, and how fast the chain is verified."""

import json
import os
import statistics
import sys
import time

from rich.console import Console

from benchmarks.private_platform import private_platform

TRAIL_ROWS = int(os.environ.get("BENCH_ROWS") or 40_000)
PAIR_COUNT = 2_000


def main() -> int:
    """Print the numbers as JSON; return 0 when the chain was verified without a fault."""
    with private_platform("audit"):
        results = {"record_added_ms": measure_record(), **measure_verification()}
    Console().print_json(json.dumps(results))
    return 0 if results["good"] else 1


def measure_record() -> float:
    """Milliseconds that `record` adds to a transaction with one write: the median of pairs, in turn."""
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
                    """
                    INSERT INTO core_periodicslot (job, slot)
                    VALUES (%s, now())
                    ON CONFLICT (job) DO UPDATE SET slot = EXCLUDED.slot
                    """,
                    [f"bench{number % 50}"],
                )
            if recorded:
                record("thing.done", actor=SYSTEM, subject=subject, number=number)
            return time.perf_counter() - started

    pairs = [(write(number, recorded=False), write(number, recorded=True)) for number in range(PAIR_COUNT)]
    return round(1000 * statistics.median(recorded - plain for plain, recorded in pairs), 3)


def measure_verification() -> dict[str, float | int | bool]:
    """Add entries until the chain has `TRAIL_ROWS`, sealing each batch, and verify all of it."""
    from django.db import transaction
    from django.utils import timezone

    from audit.actors import SYSTEM
    from audit.chain import sealing
    from audit.chain.verification import verify_trail
    from audit.models import Seal
    from audit.services import record
    from audit.subjects import Subject
    from core.ids import uuid7

    sealed_per_second = 0.0
    while Seal.objects.count() < TRAIL_ROWS:
        with transaction.atomic():
            for number in range(5_000):
                record(
                    "thing.done", actor=SYSTEM, subject=Subject("thing", uuid7(), "A label"), number=number
                )
        started = time.perf_counter()
        sealed = sealing.seal_pending()
        sealed_per_second = sealed / (time.perf_counter() - started)
    started = time.perf_counter()
    cpu_started = time.process_time()
    verdict = verify_trail(now=timezone.now())
    wall_seconds = time.perf_counter() - started
    cpu_used = time.process_time() - cpu_started
    return {
        "rows": verdict.rows,
        "good": verdict.good,
        "verified_rows_per_second": round(verdict.rows / wall_seconds),
        "verified_rows_per_cpu_second": round(verdict.rows / cpu_used),
        "sealed_rows_per_second": round(sealed_per_second),
    }


if __name__ == "__main__":
    sys.exit(main())
