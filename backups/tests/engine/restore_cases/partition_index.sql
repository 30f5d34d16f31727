-- Each partition gets its indexes, attached and valid, and so does an index of one partition alone.
-- expect: (SELECT count(*) = 7 AND bool_and(indisvalid) FROM pg_index WHERE indrelid IN (SELECT relid FROM pg_partition_tree('meter'))) AND (SELECT count(*) FROM pg_inherits i JOIN pg_index x ON x.indexrelid = i.inhrelid WHERE x.indrelid IN ('meter_2031'::regclass, 'meter_2032'::regclass)) = 4
CREATE TABLE meter (id int, read_on date NOT NULL, PRIMARY KEY (id, read_on)) PARTITION BY RANGE (read_on);
CREATE TABLE meter_2031 PARTITION OF meter FOR VALUES FROM ('2031-01-01') TO ('2032-01-01');
CREATE TABLE meter_2032 PARTITION OF meter FOR VALUES FROM ('2032-01-01') TO ('2033-01-01');
CREATE INDEX meter_day ON meter (read_on);
CREATE INDEX meter_high ON meter_2031 (id) WHERE id > 500;
INSERT INTO meter VALUES (1, '2031-03-04'), (2, '2032-03-04'), (900, '2031-09-09');
