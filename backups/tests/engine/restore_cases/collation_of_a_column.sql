-- A column keeps its collation.
-- expect: (SELECT c.collname FROM pg_attribute a JOIN pg_collation c ON c.oid = a.attcollation WHERE a.attrelid = 'member'::regclass AND a.attname = 'address') = 'by_code'
CREATE COLLATION by_code (provider = builtin, locale = 'C.UTF-8');
CREATE TABLE member (address text COLLATE by_code UNIQUE); INSERT INTO member VALUES ('Ada@example.com'), ('ada@example.com');
