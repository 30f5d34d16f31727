-- A range type and its values are restored.
-- expect: (SELECT dose @> 1.5::float8 FROM medicine)
CREATE TYPE dose_range AS RANGE (subtype = float8);
CREATE TABLE medicine (dose dose_range); INSERT INTO medicine VALUES ('[1,2)');
