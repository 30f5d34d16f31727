-- A small integer for each site, for tables with billions of rows.
CREATE SEQUENCE sites_number AS integer;
