#!/usr/bin/env python
"""Run a command: `manage.py COMMAND --help`. In development, servers that no URL names are started for it."""

import os
import sys
from pathlib import Path


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    from django.core.management import execute_from_command_line

    if os.environ.get("ENVIRONMENT", "development") != "development":
        execute_from_command_line(sys.argv)
        return
    from config import embedded_servers

    var = Path(os.environ.get("VAR_DIR") or Path(__file__).resolve().parent / "var")
    loud = sys.argv[1:2] == ["up"]
    with embedded_servers.running_servers(
        var, report=lambda line: print(f"· {line}", flush=True) if loud else None
    ) as urls:
        os.environ.update(urls)
        execute_from_command_line(sys.argv)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
