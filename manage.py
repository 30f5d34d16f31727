#!/usr/bin/env python
"""Run a management command: `manage.py COMMAND --help`.

In development, a private PostgreSQL and Redis are started when DATABASE_URL or REDIS_URL is not set.
"""

import os
import sys
from pathlib import Path


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    from django.core.management import execute_from_command_line

    from config import embedded_servers, restore_guard

    if os.environ.get("ENVIRONMENT", "development") != "development":
        restore_guard.refuse_unfinished_restore(sys.argv)
        execute_from_command_line(sys.argv)
        return

    var_dir = Path(os.environ.get("VAR_DIR") or Path(__file__).resolve().parent / "var")
    reports_progress = sys.argv[1:2] == ["up"]
    with embedded_servers.running_servers(
        var_dir, report=lambda line: print(f"· {line}", flush=True) if reports_progress else None
    ) as urls:
        os.environ.update(urls)
        restore_guard.refuse_unfinished_restore(sys.argv)
        execute_from_command_line(sys.argv)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
