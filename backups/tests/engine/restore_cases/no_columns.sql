-- A table without columns keeps its number of rows.
-- expect: (SELECT count(*) FROM nothing) = 2
CREATE TABLE nothing (); INSERT INTO nothing DEFAULT VALUES; INSERT INTO nothing DEFAULT VALUES;
