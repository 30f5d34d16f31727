-- A domain and the column that uses it keep the collation.
-- expect: (SELECT c.collname FROM pg_type t JOIN pg_collation c ON c.oid = t.typcollation WHERE t.typname = 'part_code') = 'C' AND (SELECT c.collname FROM pg_attribute a JOIN pg_collation c ON c.oid = a.attcollation WHERE a.attrelid = 'part'::regclass AND a.attname = 'code') = 'C'
CREATE DOMAIN part_code AS text COLLATE "C";
CREATE TABLE part (code part_code); INSERT INTO part VALUES ('b'), ('A');
