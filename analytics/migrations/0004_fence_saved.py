from django.db import migrations

from core.tenancy import isolate, only_writers_write

WRITTEN = ("definition", "annotation", "share")


class Migration(migrations.Migration):
    dependencies = [("analytics", "0003_saved"), ("core", "0002_context_functions")]
    operations = [
        *(isolate(f"analytics_{table}") for table in (*WRITTEN, "subscription")),
        *(only_writers_write(f"analytics_{table}") for table in WRITTEN),
    ]
