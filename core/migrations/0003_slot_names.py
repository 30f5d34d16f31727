"""Delete the slots of periodic jobs under their former names. They are now called like their tasks."""

from django.db import migrations

# Those that keep their names lose their slot too, and therefore run once more in it, which does no harm.
DELETE_SLOTS = "DELETE FROM core_periodicslot WHERE position('.' IN job) = 0"


class Migration(migrations.Migration):
    dependencies = [("core", "0002_context_functions")]

    operations = [migrations.RunSQL(DELETE_SLOTS, migrations.RunSQL.noop)]
