-- A text search configuration and the index that uses it are restored.
-- expect: (SELECT count(*) FROM essay WHERE to_tsvector('public.house_style', body) @@ to_tsquery('public.house_style', 'dog')) = 1 AND (SELECT indisvalid FROM pg_index WHERE indexrelid = 'essay_words'::regclass)
CREATE TEXT SEARCH CONFIGURATION house_style (COPY = pg_catalog.english);
CREATE TABLE essay (body text); INSERT INTO essay VALUES ('running dogs');
CREATE INDEX essay_words ON essay USING gin (to_tsvector('public.house_style', body));
