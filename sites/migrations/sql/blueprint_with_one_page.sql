-- A blueprint whose other pages have no blocks: what a page needs to be rendered, without reading 200 pages.
CREATE FUNCTION sites_with_one_page(blueprint jsonb, path text) RETURNS jsonb LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT jsonb_set(blueprint, '{pages}', (
        SELECT coalesce(jsonb_agg(CASE WHEN page ->> 'path' = path THEN page ELSE page - 'blocks' END ORDER BY place), '[]')
        FROM jsonb_array_elements(blueprint -> 'pages') WITH ORDINALITY AS every(page, place)
    ))
$$;
