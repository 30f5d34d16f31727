-- Rows are read again after an attribute of their composite type was dropped.
-- expect: (SELECT home::text FROM client) = '("Elm Street")'
CREATE TYPE address AS (street text, door int);
CREATE TABLE client (id int, home address); INSERT INTO client VALUES (1, ROW('Elm Street', 5));
-- between the runs:
ALTER TYPE address DROP ATTRIBUTE door;
