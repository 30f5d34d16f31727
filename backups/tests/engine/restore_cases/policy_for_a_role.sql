-- A run names the roles of policies, and a server without them refuses the restore until they exist.
-- warns: case_reporting
-- expect: (SELECT count(*) FROM salary) = 1 AND (SELECT relrowsecurity FROM pg_class WHERE oid = 'salary'::regclass)
-- as superuser:
CREATE ROLE case_reporting;
-- as owner:
CREATE TABLE salary (a int); INSERT INTO salary VALUES (1);
ALTER TABLE salary ENABLE ROW LEVEL SECURITY; CREATE POLICY reports ON salary TO case_reporting USING (true);
-- before the restore, as superuser:
DROP TABLE salary; DROP ROLE case_reporting;
