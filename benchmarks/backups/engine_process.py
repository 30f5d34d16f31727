"""One backup or one restore of our engine, in a process of its own.

`python -m benchmarks.backups.engine_process take|scheduled|restore OPTIONS` prints seconds, bytes and memory
as JSON. OPTIONS is a JSON object: `dsn`, `store` (a folder) and `state` (the file of the last manifest).
"""

import json
import pickle
import resource
import sys
import time
from pathlib import Path

from backups.engine import backup
from backups.engine.encryption import Keys
from backups.engine.plan import BackupPlan
from backups.engine.repository import Repository
from backups.engine.restore import restore_backup
from backups.engine.retention import generate_run_id
from backups.engine.schema.postgres_programs import PostgresPrograms
from backups.engine.source import Source
from benchmarks.backups.cluster import POSTGRES_PROGRAMS
from core.storage.object_store import FolderStore


def main() -> None:
    from datetime import UTC, datetime

    action = sys.argv[1]
    options = json.loads(sys.argv[2])
    keys = Keys(masters=(b"k" * 32,))
    store = FolderStore(Path(options["store"]))
    manifest_path = Path(options["state"])
    programs = PostgresPrograms((POSTGRES_PROGRAMS,))
    started = time.perf_counter()
    shipped_bytes = 0
    read_bytes = 0
    if action in {"take", "scheduled"}:
        # An earlier run of this program has written the pickle.
        previous = pickle.loads(manifest_path.read_bytes()) if manifest_path.exists() else None
        plan = BackupPlan(
            Source(options["dsn"], {}),
            programs,
            store,
            keys,
            b"i" * 32,
            generate_run_id(datetime.now(UTC)),
            previous,
            pace=1.0 if action == "take" else 0.1,
            hash_rows=previous is None,
        )
        backup_run = backup.take_backup(plan)
        backup_run.publish(store)
        manifest_path.write_bytes(pickle.dumps(backup_run.manifest))
        shipped_bytes = backup_run.shipped_bytes
        read_bytes = plan.read_bytes
    else:
        repository = Repository(store, keys)
        manifest = repository.load_manifest(repository.find_manifest())
        restore_backup(repository, manifest, options["dsn"], programs=programs, workers=2)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(
        json.dumps(
            {
                "seconds": time.perf_counter() - started,
                "shipped": shipped_bytes,
                "read": read_bytes,
                "peak_mib": memory,
            }
        )
    )


if __name__ == "__main__":
    main()
