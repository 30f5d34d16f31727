-- A NOT NULL constraint that older rows violate stays not validated.
-- expect: (SELECT count(*) FROM badge WHERE holder IS NULL) = 1 AND (SELECT NOT convalidated FROM pg_constraint WHERE conname = 'holder_known')
CREATE TABLE badge (holder int, door int); INSERT INTO badge VALUES (NULL, 1);
ALTER TABLE badge ADD CONSTRAINT holder_known NOT NULL holder NOT VALID;
