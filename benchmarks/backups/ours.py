"""One run or one restore of our engine, in a process of its own: `python -m benchmarks.backups.ours
take|scheduled|restore FACTS`. Prints seconds, bytes, memory.
"""

import json
import pickle
import resource
import sys
import time
from pathlib import Path

from backups.engine import backup
from backups.engine.backup import BackupPlan
from backups.engine.encryption import Keys
from backups.engine.repository import Repository
from backups.engine.restore import restore_backup
from backups.engine.retention import generate_run_id
from backups.engine.source import Source
from core.storage.object_store import FolderStore


def main() -> None:
    from datetime import UTC, datetime

    act = sys.argv[1]
    facts = json.loads(sys.argv[2])
    keys = Keys(masters=(b"k" * 32,))
    store = FolderStore(Path(facts["store"]))
    state = Path(facts["state"])
    began = time.perf_counter()
    shipped = 0
    read = 0
    if act in {"take", "scheduled"}:
        previous = pickle.loads(state.read_bytes()) if state.exists() else None  # ours, of a moment ago
        plan = BackupPlan(
            Source(facts["dsn"], {}),
            store,
            keys,
            b"i" * 32,
            generate_run_id(datetime.now(UTC)),
            previous,
            pace=1.0 if act == "take" else 0.1,
            hash_rows=previous is None,
        )
        taken = backup.take_backup(plan)
        taken.publish(store)
        state.write_bytes(pickle.dumps(taken.manifest))
        shipped = taken.shipped_bytes
        read = plan.read_bytes
    else:
        repository = Repository(store, keys)
        restore_backup(
            repository, repository.load_manifest(repository.find_manifest()), facts["dsn"], workers=2
        )
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(
        json.dumps(
            {"seconds": time.perf_counter() - began, "shipped": shipped, "read": read, "peak_mib": memory}
        )
    )


if __name__ == "__main__":
    main()
