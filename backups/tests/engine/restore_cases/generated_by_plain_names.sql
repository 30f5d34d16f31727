-- A generated column whose function relies on the search path gets the same value.
-- expect: (SELECT key FROM word) = 'x'
CREATE FUNCTION lowered(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT lower($1)';
CREATE FUNCTION key_of(v text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN lowered(v); END';
CREATE TABLE word (a text, key text GENERATED ALWAYS AS (key_of(a)) STORED); INSERT INTO word (a) VALUES ('X');
