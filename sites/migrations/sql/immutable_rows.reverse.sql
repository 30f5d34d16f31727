DROP TRIGGER revision_is_final ON sites_revision; DROP FUNCTION sites_revision_is_final();
DROP TRIGGER release_is_final ON sites_release; DROP FUNCTION sites_release_is_final();
