"""The trigger that counts the bytes of vaults for their owner."""

from pathlib import Path

from django.db import migrations

from core.migration_sql import run_sql_file

SQL = Path(__file__).parent / "sql"


class Migration(migrations.Migration):
    dependencies = [("vault", "0002_row_level_security"), ("core", "0004_storage_usage")]
    operations = [run_sql_file(SQL / "stored_bytes")]
