"""A pytest plugin that starts private servers for the tests. It is loaded first (`-p config.testing`).

Each pytest-xdist worker gets two Redis databases and a folder of its own, because workers run side by side.
"""

import atexit
import os
from contextlib import ExitStack
from pathlib import Path

WORKER = os.environ.get("PYTEST_XDIST_WORKER", "")
VAR = Path(__file__).resolve().parent.parent / "var" / "test"  # the servers that all workers share
WORKER_FOLDER = VAR / (WORKER or "main")  # the files of this worker

os.environ.update(
    {
        "ENVIRONMENT": "development",
        "VAR_DIR": str(WORKER_FOLDER),
        "LOG_LEVEL": "CRITICAL",
        "RATE_LIMIT": "100000",
        # Tests send more requests at once than a web process has threads by default.
        "WEB_THREADS": "32",
        "BACKUP_PACE": "1",
    }
)
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

if not WORKER:
    from config import embedded_servers

    # The tests delete data, so they must never use the servers that the environment names.
    for name in ("DATABASE_URL", "REDIS_URL", "CACHE_REDIS_URL"):
        os.environ.pop(name, None)
    _stack = ExitStack()
    os.environ.update(_stack.enter_context(embedded_servers.running_servers(VAR, fast=True)))
    atexit.register(_stack.close)
else:
    worker_number = int(WORKER.removeprefix("gw")) % 7 + 1
    server_url = os.environ["REDIS_URL"].rsplit("/", 1)[0]
    os.environ["REDIS_URL"] = f"{server_url}/{worker_number * 2}"
    os.environ["CACHE_REDIS_URL"] = f"{server_url}/{worker_number * 2 + 1}"
