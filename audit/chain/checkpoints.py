"""Signed statements about the chain in a place where nobody overwrites: they show a chain that was rebuilt."""

from datetime import datetime

import structlog
from django.db import transaction

from audit.chain import hashing, signing_keys
from audit.models import Checkpoint, Seal
from core.observability import metrics
from core.storage import object_store

PREFIX = "audit/checkpoints/"

log = structlog.get_logger(__name__)


def make_checkpoint(*, now: datetime) -> Checkpoint | None:
    """Sign the newest seal; None when it has been signed before or there is none."""
    newest = Seal.objects.order_by("-number").first()
    if newest is None or Checkpoint.objects.filter(number=newest.number).exists():
        return None
    document = {
        "kind": "checkpoint",
        "number": newest.number,
        "digest": bytes(newest.digest).hex(),
        "at": now.isoformat(),
    }
    made, _ = Checkpoint.objects.get_or_create(
        number=newest.number, defaults={"document": hashing.sign(document, *signing_keys.signing_key())}
    )
    return made


def key_of(number: int) -> str:
    return f"{PREFIX}{number:020d}.json"


def store_checkpoints(*, now: datetime) -> int:
    """Write every checkpoint that the object store does not have yet, oldest first; return how many.

    Away: later.
    """
    stored = 0
    for pk in Checkpoint.objects.filter(stored_at=None).order_by("number").values_list("pk", flat=True):
        with transaction.atomic():
            waiting = (
                Checkpoint.objects.select_for_update(skip_locked=True).filter(pk=pk, stored_at=None).first()
            )
            if waiting is None:
                continue
            try:
                object_store.object_store().create(key_of(waiting.number), waiting.document.encode())
            except object_store.ObjectExists:
                pass  # written before a crash, or somebody else's: verify compares
            except object_store.ObjectStoreUnavailable as error:
                log.warning("checkpoint_waits", number=waiting.number, error=str(error))
                metrics.checkpoints_waiting.inc()
                return stored
            waiting.stored_at = now
            waiting.save(update_fields=["stored_at"])
            stored += 1
    return stored
