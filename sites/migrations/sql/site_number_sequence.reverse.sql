DROP SEQUENCE sites_number;
