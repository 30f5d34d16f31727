"""Migration operations whose SQL is in a file of its own."""

from pathlib import Path

from django.db import migrations


def run_sql_file(path: Path) -> migrations.RunSQL:
    """Return an operation that executes `<path>.sql`, and to reverse it `<path>.reverse.sql`."""
    return migrations.RunSQL(
        path.with_suffix(".sql").read_text(), path.with_suffix(".reverse.sql").read_text()
    )
