DROP TRIGGER count_bytes ON vault_holder;
DROP FUNCTION vault_count_bytes();
UPDATE core_storageusage
SET parts = parts - 'vault', used = used - coalesce((parts ->> 'vault')::bigint, 0);
