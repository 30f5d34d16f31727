import pytest
from django.utils import timezone

from audit.chain import checkpoints, sealing
from audit.chain.verification import verify_trail
from audit.models import Checkpoint
from audit.tests.trail_helpers import CHECKPOINT_TIME, record_entries

pytestmark = [pytest.mark.django_db, pytest.mark.commits]


def test_store_checkpoints_tries_again_after_the_object_store_was_unavailable(trail):
    record_entries(2)
    sealing.seal_pending()
    trail.parent.mkdir(parents=True, exist_ok=True)
    trail.write_text("a file where the folder should be")
    checkpoints.create_checkpoint(now=CHECKPOINT_TIME)

    assert checkpoints.store_checkpoints(now=CHECKPOINT_TIME) == 0
    assert Checkpoint.objects.get().stored_at is None
    trail.unlink()
    assert checkpoints.store_checkpoints(now=CHECKPOINT_TIME) == 1
    assert checkpoints.store_checkpoints(now=CHECKPOINT_TIME) == 0
    assert verify_trail(now=timezone.now()).checkpoints == 1
