from django.db import migrations

from core.tenancy import isolate, only_writers_write

# A policy may read sites_site: under `public` that shows live sites only. A scalar subquery, because PostgreSQL turns EXISTS
# into a hash of the whole table: 12 ms for each list at 40,000 sites, against 1.
SHOWN_POST = (
    "live AND deleted_at IS NULL AND (SELECT true FROM sites_site shown WHERE shown.id = sites_post.site_id)"
)
SHOWN_SLUG = "(SELECT true FROM sites_post shown WHERE shown.id = sites_formerslug.post_id)"
NEW = ["invitation", "schedule", "review", "preview"]
WRITTEN = ["draft", "release", "revision", "announcement", "post", "formerslug", *NEW]

FREEZE = """
CREATE OR REPLACE FUNCTION sites_release_is_final() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (OLD.id, OLD.site_id, OLD.number, OLD.blueprint, OLD.created_at{note})
        IS DISTINCT FROM (NEW.id, NEW.site_id, NEW.number, NEW.blueprint, NEW.created_at{new_note}) THEN
        RAISE EXCEPTION 'a release is never changed' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
"""


class Migration(migrations.Migration):
    dependencies = [("sites", "0005_teams_and_posts")]
    operations = [
        *(isolate(f"sites_{table}") for table in NEW),
        isolate("sites_post", published=SHOWN_POST),
        isolate("sites_formerslug", published=SHOWN_SLUG),
        only_writers_write("sites_site", site_column="id"),
        *(only_writers_write(f"sites_{table}") for table in WRITTEN),
        migrations.RunSQL(
            FREEZE.format(note=", OLD.note", new_note=", NEW.note"), FREEZE.format(note="", new_note="")
        ),
    ]
