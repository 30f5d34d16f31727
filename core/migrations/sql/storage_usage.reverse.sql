DROP FUNCTION core_add_storage_usage(uuid, text, bigint);
