DROP TRIGGER move_bytes ON sites_site;
DROP TRIGGER count_inserted_bytes ON sites_draft;
DROP TRIGGER count_updated_bytes ON sites_draft;
DROP TRIGGER count_deleted_bytes ON sites_draft;
DROP TRIGGER count_inserted_bytes ON sites_revision;
DROP TRIGGER count_deleted_bytes ON sites_revision;
DROP TRIGGER count_inserted_bytes ON sites_release;
DROP TRIGGER count_deleted_bytes ON sites_release;
DROP TRIGGER count_inserted_bytes ON sites_post;
DROP TRIGGER count_updated_bytes ON sites_post;
DROP TRIGGER count_deleted_bytes ON sites_post;
DROP FUNCTION sites_move_bytes();
DROP FUNCTION sites_bytes_of_site(uuid);
DROP FUNCTION sites_count_bytes();
UPDATE core_storageusage
SET parts = parts - ARRAY['drafts', 'revisions', 'releases', 'posts'],
    used = used - coalesce((parts ->> 'drafts')::bigint, 0) - coalesce((parts ->> 'revisions')::bigint, 0)
        - coalesce((parts ->> 'releases')::bigint, 0) - coalesce((parts ->> 'posts')::bigint, 0);
