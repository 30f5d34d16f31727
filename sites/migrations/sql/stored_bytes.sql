-- The bytes of drafts, revisions, releases and posts are counted for the owner of the site. See core/quotas.py.
CREATE FUNCTION sites_count_bytes() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    changed_sites uuid[];
    added_bytes bigint[];
    owners uuid[];
    change record;
BEGIN
    -- Each branch reads only the transition tables that its triggers have.
    IF TG_OP = 'INSERT' THEN
        SELECT array_agg(site_id), array_agg(bytes) INTO changed_sites, added_bytes
        FROM (SELECT site_id, sum(size) AS bytes FROM new_rows GROUP BY site_id) c;
    ELSIF TG_OP = 'DELETE' THEN
        SELECT array_agg(site_id), array_agg(bytes) INTO changed_sites, added_bytes
        FROM (SELECT site_id, -sum(size) AS bytes FROM old_rows GROUP BY site_id) c;
    ELSE
        changed_sites := ARRAY[NEW.site_id];
        added_bytes := ARRAY[NEW.size - OLD.size];
    END IF;
    IF changed_sites IS NULL THEN
        RETURN NULL;
    END IF;
    -- A transfer holds the rows of both owners until its commit. So once the rows of the owners are locked, and
    -- the owners are still the same, a transfer either has committed, or counts after this change.
    LOOP
        owners := ARRAY(SELECT DISTINCT owner_id FROM sites_site WHERE id = ANY (changed_sites) ORDER BY 1);
        PERFORM FROM core_storageusage WHERE owner_id = ANY (owners) ORDER BY owner_id FOR NO KEY UPDATE;
        EXIT WHEN owners
            = ARRAY(SELECT DISTINCT owner_id FROM sites_site WHERE id = ANY (changed_sites) ORDER BY 1);
    END LOOP;
    FOR change IN
        SELECT s.owner_id, sum(c.bytes)::bigint AS bytes
        FROM unnest(changed_sites, added_bytes) AS c (site_id, bytes) JOIN sites_site s ON s.id = c.site_id
        GROUP BY s.owner_id ORDER BY s.owner_id
    LOOP
        PERFORM core_add_storage_usage(change.owner_id, TG_ARGV[0], change.bytes);
    END LOOP;
    RETURN NULL;
END $$;

-- Updates have triggers for each row, because a transition table would hold a copy of each document.
CREATE TRIGGER count_inserted_bytes AFTER INSERT ON sites_draft REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION sites_count_bytes('drafts');
CREATE TRIGGER count_updated_bytes AFTER UPDATE ON sites_draft FOR EACH ROW WHEN (OLD.size <> NEW.size)
    EXECUTE FUNCTION sites_count_bytes('drafts');
CREATE TRIGGER count_deleted_bytes AFTER DELETE ON sites_draft REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION sites_count_bytes('drafts');

-- Revisions and releases never change, so their updates need no trigger.
CREATE TRIGGER count_inserted_bytes AFTER INSERT ON sites_revision REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION sites_count_bytes('revisions');
CREATE TRIGGER count_deleted_bytes AFTER DELETE ON sites_revision REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION sites_count_bytes('revisions');

CREATE TRIGGER count_inserted_bytes AFTER INSERT ON sites_release REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION sites_count_bytes('releases');
CREATE TRIGGER count_deleted_bytes AFTER DELETE ON sites_release REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION sites_count_bytes('releases');

CREATE TRIGGER count_inserted_bytes AFTER INSERT ON sites_post REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION sites_count_bytes('posts');
CREATE TRIGGER count_updated_bytes AFTER UPDATE ON sites_post FOR EACH ROW WHEN (OLD.size <> NEW.size)
    EXECUTE FUNCTION sites_count_bytes('posts');
CREATE TRIGGER count_deleted_bytes AFTER DELETE ON sites_post REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION sites_count_bytes('posts');

-- The bytes by kind of one site.
CREATE FUNCTION sites_bytes_of_site(measured_site uuid) RETURNS TABLE (kind text, bytes bigint)
    LANGUAGE sql STABLE AS $$
    SELECT 'drafts', coalesce(sum(size), 0) FROM sites_draft WHERE site_id = measured_site
    UNION ALL SELECT 'revisions', coalesce(sum(size), 0) FROM sites_revision WHERE site_id = measured_site
    UNION ALL SELECT 'releases', coalesce(sum(size), 0) FROM sites_release WHERE site_id = measured_site
    UNION ALL SELECT 'posts', coalesce(sum(size), 0) FROM sites_post WHERE site_id = measured_site
$$;

-- The new owner of a site takes over its bytes. Both users' rows are locked first, in the order of the ids.
CREATE FUNCTION sites_move_bytes() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    part record;
BEGIN
    PERFORM FROM core_storageusage WHERE owner_id IN (OLD.owner_id, NEW.owner_id)
        ORDER BY owner_id FOR NO KEY UPDATE;
    FOR part IN SELECT kind, bytes FROM sites_bytes_of_site(NEW.id) LOOP
        PERFORM core_add_storage_usage(OLD.owner_id, part.kind, -part.bytes);
        PERFORM core_add_storage_usage(NEW.owner_id, part.kind, part.bytes);
    END LOOP;
    RETURN NULL;
END $$;
CREATE TRIGGER move_bytes AFTER UPDATE OF owner_id ON sites_site FOR EACH ROW
    WHEN (OLD.owner_id IS DISTINCT FROM NEW.owner_id) EXECUTE FUNCTION sites_move_bytes();

-- Count what is stored already. The new triggers have locked the tables against writes until the commit.
DO $$
DECLARE
    stored record;
BEGIN
    FOR stored IN
        SELECT s.owner_id, part.kind, sum(part.bytes)::bigint AS bytes
        FROM sites_site s CROSS JOIN LATERAL sites_bytes_of_site(s.id) part
        GROUP BY s.owner_id, part.kind ORDER BY s.owner_id, part.kind
    LOOP
        PERFORM core_add_storage_usage(stored.owner_id, stored.kind, stored.bytes);
    END LOOP;
END $$;
