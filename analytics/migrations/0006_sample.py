from django.db import migrations

# The same expression as `analytics.store.SAMPLED`: an index serves only the words it was made with.
SAMPLE = """CREATE INDEX analytics_event_sample ON analytics_event (site_number, created_at) WHERE
    (coalesce(visitor, nullif(event_id, 0), (extract(epoch FROM created_at - '1970-01-01 00:00:00+00'::timestamptz) * 1000)::bigint) & 15) = 0"""


class Migration(migrations.Migration):
    dependencies = [("analytics", "0005_views_of_visits")]
    operations = [migrations.RunSQL(SAMPLE, "DROP INDEX analytics_event_sample")]
