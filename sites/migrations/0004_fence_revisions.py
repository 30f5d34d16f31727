from django.db import migrations

from core.tenancy import isolate

FREEZE = """
CREATE FUNCTION sites_revision_is_final() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (OLD.id, OLD.site_id, OLD.version, OLD.blueprint, OLD.size, OLD.created_at)
        IS DISTINCT FROM (NEW.id, NEW.site_id, NEW.version, NEW.blueprint, NEW.size, NEW.created_at) THEN
        RAISE EXCEPTION 'a revision is never changed' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER revision_is_final BEFORE UPDATE ON sites_revision FOR EACH ROW EXECUTE FUNCTION sites_revision_is_final();
"""
THAW = "DROP TRIGGER revision_is_final ON sites_revision; DROP FUNCTION sites_revision_is_final();"


class Migration(migrations.Migration):
    dependencies = [("sites", "0003_revision")]
    operations = [isolate("sites_revision"), migrations.RunSQL(FREEZE, THAW)]
