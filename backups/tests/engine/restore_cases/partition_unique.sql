-- A unique index of a partitioned table without a primary key still refuses duplicates.
-- expect: (SELECT count(*) = 4 AND bool_and(indisvalid) FROM pg_index WHERE indrelid IN (SELECT relid FROM pg_partition_tree('visit'))) AND (SELECT count(*) FROM visit) = 20 AND (SELECT last_value FROM visit_id_seq) = 20
CREATE TABLE visit (id bigint GENERATED ALWAYS AS IDENTITY, day date NOT NULL, shop int) PARTITION BY RANGE (day);
CREATE TABLE visit_may PARTITION OF visit FOR VALUES FROM ('2031-05-01') TO ('2031-06-01');
CREATE INDEX visit_shop ON visit (shop);
CREATE UNIQUE INDEX visit_once ON visit (id, day);
INSERT INTO visit (day, shop) SELECT '2031-05-02', n % 5 FROM generate_series(1, 20) AS n;
