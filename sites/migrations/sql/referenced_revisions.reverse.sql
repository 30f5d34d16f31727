DROP FUNCTION sites_is_referenced(uuid);
