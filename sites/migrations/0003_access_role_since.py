import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("sites", "0002_row_level_security")]

    operations = [
        migrations.AddField("access", "role_since", models.DateTimeField(default=django.utils.timezone.now)),
        # Earlier changes of a role were not recorded in this table.
        migrations.RunSQL(
            "UPDATE sites_access SET role_since = created_at", reverse_sql=migrations.RunSQL.noop
        ),
    ]
