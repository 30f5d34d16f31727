"""A rotation whose process is killed at any moment leaves everything old or everything new."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest
from django.db import connections

from core import tenancy
from tests.stack import ROOT
from vault.models import FormerVersion, Holder, Item, Vault
from vault.tests.calls import item_of, sealed

pytestmark = pytest.mark.django_db(transaction=True)
KILLS, ITEMS = 100, 60

# A process that has Django loaded and no connection: each line it reads becomes a child that rotates once over the API.
NURSERY = """
import json, os, sys
import django
django.setup()
from django.db import connection
connection.settings_dict["NAME"] = sys.argv[1]
from django.test import Client
client = Client(headers={"Host": "localhost"})
client.get("/api/v1/vault/vectors")  # loads what a first request loads
connection.close()
connection.close_pool()
for line in sys.stdin:
    asked = json.loads(line)
    if not (child := os.fork()):
        print(os.getpid(), flush=True)
        answer = client.post(asked["path"], asked["body"], content_type="application/json", headers=asked["headers"])
        print(answer.status_code, answer.content[:500] if answer.status_code != 200 else "", flush=True)
        os._exit(0)
    os.waitpid(child, 0)
    print("ended", flush=True)
"""


@pytest.fixture
def nursery():
    name = connections["default"].settings_dict["NAME"]
    command = [sys.executable, "-c", NURSERY, name]
    running = subprocess.Popen(
        command,
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "config.settings"},
    )
    yield running
    running.stdin.close()
    running.stdout.close()
    assert running.wait(30) == 0


def rotate(nursery, api, vault, version, item_versions, *, kill_after=None):
    """Rotate once in a child; seconds that took, and whether the answer came before the kill."""
    items = [{"item_id": pk, **sealed(number + 1)} for pk, number in item_versions.items()]
    asked = {
        "path": f"/api/v1/vault/{vault}/rotate",
        "body": {**sealed(version + 1), "items": items},
        "headers": {"Authorization": f"Bearer {api.access}", "If-Match": f'"{version}"'},
    }
    nursery.stdin.write(json.dumps(asked) + "\n")
    nursery.stdin.flush()
    child, started = int(nursery.stdout.readline()), time.monotonic()
    if kill_after is not None:
        time.sleep(kill_after)
        with contextlib.suppress(ProcessLookupError):  # it was done
            os.kill(child, signal.SIGKILL)
    said = []
    while (line := nursery.stdout.readline().strip()) != "ended":
        said.append(line)
    assert said in ([], ["200"]), said
    return time.monotonic() - started, bool(said)


def state(vault):
    """Versions of the vault and of each item, and how many bytes there are."""
    with tenancy.context(tenancy.SYSTEM):
        own = Vault.objects.get(vault_id=vault)
        items = {str(item.item_id): item for item in Item.objects.filter(vault=own)}
        size = len(own.ciphertext) + sum(len(row.ciphertext) for row in [*items.values(), *FormerVersion.objects.all()])
        sequences = {own.sequence, *(item.sequence for item in items.values())}
        holder = Holder.objects.get(owner=own.owner)
    return own.version, {pk: item.version for pk, item in items.items()}, sequences, (holder.size == size, holder.items)


def test_a_hundred_kills_leave_everything_old_or_everything_new(nursery, api, vault):
    for _ in range(ITEMS):
        item_of(api, vault)
    version, items, *_ = state(vault)
    took, answered = rotate(nursery, api, vault, version, items)
    assert answered
    outcomes = []

    for _ in range(KILLS):
        version, items, *_ = state(vault)
        _, answered = rotate(nursery, api, vault, version, items, kill_after=random.uniform(0, 1.3 * took))
        after, found, sequences, counted = state(vault)
        outcomes.append((after - version, answered))
        assert after - version in (0, 1)
        assert found == {pk: number + after - version for pk, number in items.items()}
        assert len(sequences) == 1, "one rotation, one number"
        assert counted == (True, ITEMS)
        assert after > version or not answered

    assert {done for done, _ in outcomes} == {0, 1}, "the kills came at moments that differ"
