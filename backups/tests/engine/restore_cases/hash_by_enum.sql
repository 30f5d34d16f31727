-- All rows are found by key although the hash of an enum differs between databases.
-- expect: (SELECT count(*) FROM paint) = 8 AND (SELECT count(*) FROM paint WHERE c = 'pink') = 1 AND (SELECT count(*) FROM paint WHERE c = 'red') = 1
CREATE TYPE colour AS ENUM ('red', 'green', 'blue', 'yellow', 'black', 'white', 'grey', 'pink');
CREATE TABLE paint (c colour NOT NULL, litres int) PARTITION BY HASH (c);
CREATE TABLE paint_0 PARTITION OF paint FOR VALUES WITH (MODULUS 3, REMAINDER 0);
CREATE TABLE paint_1 PARTITION OF paint FOR VALUES WITH (MODULUS 3, REMAINDER 1);
CREATE TABLE paint_2 PARTITION OF paint FOR VALUES WITH (MODULUS 3, REMAINDER 2);
INSERT INTO paint SELECT unnest(enum_range(NULL::colour)), 1;
