-- A virtual generated column is computed when it is read.
-- expect: (SELECT attgenerated FROM pg_attribute WHERE attrelid = 'price'::regclass AND attname = 'gross') = 'v' AND (SELECT sum(gross) FROM price) = 36.0
CREATE TABLE price (net numeric NOT NULL, gross numeric GENERATED ALWAYS AS (net * 1.2) VIRTUAL);
INSERT INTO price VALUES (10), (20);
