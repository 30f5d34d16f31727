"""Helpers that write, seal and verify entries."""

from datetime import UTC, datetime, timedelta

from django.utils import timezone

from audit.actors import SYSTEM
from audit.chain import checkpoints, sealing
from audit.chain.verification import verify_trail
from audit.services import record
from audit.subjects import Subject
from core.ids import uuid7

CHECKPOINT_TIME = datetime(2030, 1, 1, tzinfo=UTC)


def record_entries(count=1, **details):
    """Record entries and return their ids."""
    return [
        record(
            "thing.done", actor=SYSTEM, subject=Subject("thing", uuid7(), "Label"), number=number, **details
        )
        for number in range(count)
    ]


def sign_and_store():
    """Sign the newest seal and store the checkpoint."""
    checkpoints.create_checkpoint(now=CHECKPOINT_TIME)
    checkpoints.store_checkpoints(now=CHECKPOINT_TIME)


def seal_all():
    while sealing.seal_pending():
        pass


def seal_sign_and_store():
    seal_all()
    sign_and_store()


def find_fault():
    """Verify the trail. Return kind and seal number of the first fault, or None."""
    fault = verify_trail(now=timezone.now() + timedelta(minutes=5)).fault
    return (fault["kind"], fault.get("number")) if fault else None
