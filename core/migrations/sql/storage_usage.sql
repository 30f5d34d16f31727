-- Add bytes of one kind, which may be negative, to the storage usage of a user. Triggers of the apps call this.
-- Bytes are given back without a row only while the user is being erased; then there is nothing to change.
CREATE FUNCTION core_add_storage_usage(changed_owner uuid, changed_kind text, added bigint) RETURNS void
    LANGUAGE plpgsql AS $$
BEGIN
    IF added > 0 THEN
        INSERT INTO core_storageusage AS stored (owner_id, used, parts)
        VALUES (changed_owner, added, jsonb_build_object(changed_kind, added))
        ON CONFLICT (owner_id) DO UPDATE
        SET used = stored.used + added,
            parts = stored.parts
                || jsonb_build_object(changed_kind, coalesce((stored.parts ->> changed_kind)::bigint, 0) + added);
    ELSIF added < 0 THEN
        UPDATE core_storageusage AS stored
        SET used = stored.used + added,
            parts = stored.parts
                || jsonb_build_object(changed_kind, coalesce((stored.parts ->> changed_kind)::bigint, 0) + added)
        WHERE stored.owner_id = changed_owner;
    END IF;
END $$;
