-- Releases and revisions never change.
CREATE FUNCTION sites_release_is_final() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (OLD.id, OLD.site_id, OLD.number, OLD.blueprint, OLD.created_at, OLD.note)
        IS DISTINCT FROM (NEW.id, NEW.site_id, NEW.number, NEW.blueprint, NEW.created_at, NEW.note) THEN
        RAISE EXCEPTION 'a release is never changed' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER release_is_final BEFORE UPDATE ON sites_release FOR EACH ROW EXECUTE FUNCTION sites_release_is_final();

CREATE FUNCTION sites_revision_is_final() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (OLD.id, OLD.site_id, OLD.version, OLD.blueprint, OLD.size, OLD.created_at)
        IS DISTINCT FROM (NEW.id, NEW.site_id, NEW.version, NEW.blueprint, NEW.size, NEW.created_at) THEN
        RAISE EXCEPTION 'a revision is never changed' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER revision_is_final BEFORE UPDATE ON sites_revision FOR EACH ROW EXECUTE FUNCTION sites_revision_is_final();
