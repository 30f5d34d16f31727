-- Only the context `system` writes reservations: a name is checked against those of all owners.
ALTER TABLE sites_subdomainreservation ENABLE ROW LEVEL SECURITY;
ALTER TABLE sites_subdomainreservation FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON sites_subdomainreservation
    USING ((SELECT app_context()) = 'system' OR owner_id = (SELECT app_user()))
    WITH CHECK ((SELECT app_context()) = 'system');
