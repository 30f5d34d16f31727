import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("sites", "0002_row_level_security"), ("audit", "0002_audit_trail")]

    operations = [
        migrations.AddField("access", "role_since", models.DateTimeField(default=django.utils.timezone.now)),
        # Earlier transfers were recorded only in the audit trail.
        migrations.RunSQL(
            """
            UPDATE sites_access
            SET role_since = greatest(
                created_at,
                (
                    SELECT max(e.created_at)
                    FROM audit_entry e
                    WHERE e.site_id = sites_access.site_id AND e.event = 'site.transferred'
                )
            )""",
            reverse_sql=migrations.RunSQL.noop,
        ),
    ]
