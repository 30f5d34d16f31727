"""A pytest plugin, loaded first (`-p config.testing`): private servers for the tests, one Redis database pair
each worker.
"""

import atexit
import os
from contextlib import ExitStack
from pathlib import Path

WORKER = os.environ.get("PYTEST_XDIST_WORKER", "")
VAR = Path(__file__).resolve().parent.parent / "var" / "test"

os.environ.update(
    {
        "ENVIRONMENT": "development",
        "VAR_DIR": str(VAR),
        "LOG_LEVEL": "CRITICAL",
        "RATE_LIMIT": "100000",
        "BACKUP_PACE": "1",
    }
)
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

if not WORKER:
    from config import embedded_servers

    for name in ("DATABASE_URL", "REDIS_URL", "CACHE_REDIS_URL"):  # tests empty what they find there
        os.environ.pop(name, None)
    _stack = ExitStack()
    os.environ.update(_stack.enter_context(embedded_servers.running_servers(VAR, fast=True)))
    atexit.register(_stack.close)
else:
    number = int(WORKER.removeprefix("gw")) % 7 + 1
    base = os.environ["REDIS_URL"].rsplit("/", 1)[0]
    os.environ["REDIS_URL"] = f"{base}/{number * 2}"
    os.environ["CACHE_REDIS_URL"] = f"{base}/{number * 2 + 1}"
