-- The bytes of vaults count for their owner. `vault_holder.size` has them already. See core/quotas.py.
CREATE FUNCTION vault_count_bytes() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        PERFORM core_add_storage_usage(OLD.owner_id, 'vault', -OLD.size);
    ELSIF TG_OP = 'INSERT' THEN
        PERFORM core_add_storage_usage(NEW.owner_id, 'vault', NEW.size);
    ELSE
        PERFORM core_add_storage_usage(NEW.owner_id, 'vault', NEW.size - OLD.size);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER count_bytes AFTER INSERT OR DELETE OR UPDATE OF size ON vault_holder
    FOR EACH ROW EXECUTE FUNCTION vault_count_bytes();

-- Count what is stored already. The new trigger has locked the table against writes until the commit.
DO $$
BEGIN
    PERFORM core_add_storage_usage(owner_id, 'vault', size) FROM vault_holder;
END $$;
