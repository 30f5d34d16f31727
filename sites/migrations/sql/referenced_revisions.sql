-- Whether a schedule, a review or a preview link refers to a revision. Such a revision is never replaced.
CREATE FUNCTION sites_is_referenced(revision uuid) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT EXISTS (SELECT FROM sites_schedule WHERE revision_id = revision)
        OR EXISTS (SELECT FROM sites_review WHERE revision_id = revision)
        OR EXISTS (SELECT FROM sites_preview WHERE revision_id = revision)
$$;
