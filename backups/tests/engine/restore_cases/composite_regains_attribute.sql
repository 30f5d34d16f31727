-- Rows are read again after an attribute was dropped and another one with the same name and type was added.
-- expect: (SELECT home::text FROM customer) = '("Elm Street",)'
CREATE TYPE postal AS (street text, door int);
CREATE TABLE customer (id int, home postal); INSERT INTO customer VALUES (1, ROW('Elm Street', 5));
-- between the runs:
ALTER TYPE postal DROP ATTRIBUTE door; ALTER TYPE postal ADD ATTRIBUTE door int;
