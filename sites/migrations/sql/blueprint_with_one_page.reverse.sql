DROP FUNCTION sites_with_one_page(jsonb, text);
