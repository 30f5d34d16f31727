DROP POLICY tenant ON sites_subdomainreservation;
ALTER TABLE sites_subdomainreservation NO FORCE ROW LEVEL SECURITY;
ALTER TABLE sites_subdomainreservation DISABLE ROW LEVEL SECURITY;
