"""Signed checkpoints of the hash chain, stored where objects cannot be overwritten.

An attacker with full database rights can compute a whole new chain. The checkpoints in the object store show
that the new chain differs from the one that was signed.
"""

from datetime import datetime

import structlog
from django.db import transaction

from audit.chain import hashing, signing_keys
from audit.models import Checkpoint, Seal
from core.storage import object_store

CHECKPOINT_PREFIX = "audit/checkpoints/"

log = structlog.get_logger(__name__)


def create_checkpoint(*, now: datetime) -> Checkpoint | None:
    """Sign the newest seal. Return None when there is no seal or when it is signed already."""
    newest = Seal.objects.order_by("-number").first()
    if newest is None or Checkpoint.objects.filter(number=newest.number).exists():
        return None
    document = {
        "kind": "checkpoint",
        "number": newest.number,
        "digest": bytes(newest.digest).hex(),
        "at": now.isoformat(),
    }
    checkpoint, _ = Checkpoint.objects.get_or_create(
        number=newest.number,
        defaults={"document": hashing.sign_document(document, *signing_keys.signing_key())},
    )
    return checkpoint


def object_key(number: int) -> str:
    """Return the key in the object store of the checkpoint of a seal. Keys sort in the order of the chain."""
    return f"{CHECKPOINT_PREFIX}{number:020d}.json"


def store_checkpoints(*, now: datetime) -> int:
    """Write every checkpoint that is not in the object store yet, oldest first. Return how many were written.

    When the object store is unavailable the rest stays for the next run.
    """
    stored_count = 0
    for pk in Checkpoint.objects.filter(stored_at=None).order_by("number").values_list("pk", flat=True):
        with transaction.atomic():
            checkpoint = (
                Checkpoint.objects.select_for_update(skip_locked=True).filter(pk=pk, stored_at=None).first()
            )
            if checkpoint is None:
                continue
            try:
                object_store.object_store().create(
                    object_key(checkpoint.number), checkpoint.document.encode()
                )
            except object_store.ObjectExists:
                # Written before a crash, or by another writer. `verify_trail` compares its content.
                pass
            except object_store.ObjectStoreUnavailable as error:
                log.warning("checkpoint_storing_failed", number=checkpoint.number, error=str(error))
                return stored_count
            checkpoint.stored_at = now
            checkpoint.save(update_fields=["stored_at"])
            stored_count += 1
    return stored_count
