-- Storage, statistics targets, replica identity, clustering and options of a table are kept.
-- expect: (SELECT attstorage = 'e' AND attstattarget = 500 AND attoptions = '{n_distinct=-0.5}' FROM pg_attribute WHERE attrelid = 'letter'::regclass AND attname = 'body') AND (SELECT relreplident = 'f' AND 'fillfactor=70' = ANY(reloptions) FROM pg_class WHERE oid = 'letter'::regclass) AND (SELECT indisclustered FROM pg_index WHERE indexrelid = 'letter_pkey'::regclass)
CREATE TABLE letter (id int PRIMARY KEY, body text); INSERT INTO letter VALUES (1, 'Dear Ada');
ALTER TABLE letter ALTER body SET STORAGE EXTERNAL, ALTER body SET STATISTICS 500, ALTER body SET (n_distinct = -0.5);
ALTER TABLE letter REPLICA IDENTITY FULL; ALTER TABLE letter CLUSTER ON letter_pkey;
ALTER TABLE letter SET (toast.autovacuum_enabled = false, fillfactor = 70);
