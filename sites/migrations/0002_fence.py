from django.db import migrations

from core.tenancy import isolate

LIVE = "status = 'live' AND deleted_at IS NULL"
SHOWN = "EXISTS (SELECT 1 FROM sites_site shown WHERE shown.live_release_id = sites_release.id)"

FREEZE = """
CREATE FUNCTION sites_release_is_final() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (OLD.id, OLD.site_id, OLD.number, OLD.blueprint, OLD.created_at)
        IS DISTINCT FROM (NEW.id, NEW.site_id, NEW.number, NEW.blueprint, NEW.created_at) THEN
        RAISE EXCEPTION 'a release is never changed' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER release_is_final BEFORE UPDATE ON sites_release FOR EACH ROW EXECUTE FUNCTION sites_release_is_final();
"""
THAW = "DROP TRIGGER release_is_final ON sites_release; DROP FUNCTION sites_release_is_final();"


class Migration(migrations.Migration):
    dependencies = [("sites", "0001_initial"), ("core", "0002_context_functions")]
    operations = [
        isolate("sites_site", site_column="id", published=LIVE),
        isolate("sites_draft"),
        isolate("sites_release", published=SHOWN),
        isolate("sites_announcement"),
        migrations.RunSQL(FREEZE, THAW),
    ]
