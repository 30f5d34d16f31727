-- Row-level security of sites. `system` sees all rows, a member the rows of the sites they have access to,
-- `public` what is published; members with the role `viewer` write nothing. See core/tenancy.py.
-- sites_site
ALTER TABLE sites_site ENABLE ROW LEVEL SECURITY;
ALTER TABLE sites_site FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON sites_site
    USING ((SELECT app_context()) = 'system' OR id IN (SELECT site_id FROM sites_access WHERE user_id = (SELECT app_user())))
    WITH CHECK ((SELECT app_context()) = 'system' OR id IN (SELECT site_id FROM sites_access WHERE user_id = (SELECT app_user())));
CREATE POLICY published ON sites_site FOR SELECT
    USING ((SELECT app_context()) = 'public' AND (status = 'live' AND deleted_at IS NULL));
CREATE POLICY writers_insert ON sites_site AS RESTRICTIVE FOR INSERT
    WITH CHECK ((SELECT app_context()) = 'system' OR id IN (SELECT site_id FROM sites_access WHERE user_id = (SELECT app_user()) AND role <> 'viewer'));
CREATE POLICY writers_update ON sites_site AS RESTRICTIVE FOR UPDATE
    USING ((SELECT app_context()) = 'system' OR id IN (SELECT site_id FROM sites_access WHERE user_id = (SELECT app_user()) AND role <> 'viewer'));
CREATE POLICY writers_delete ON sites_site AS RESTRICTIVE FOR DELETE
    USING ((SELECT app_context()) = 'system' OR id IN (SELECT site_id FROM sites_access WHERE user_id = (SELECT app_user()) AND role <> 'viewer'));

-- sites_draft
ALTER TABLE sites_draft ENABLE ROW LEVEL SECURITY;
ALTER TABLE sites_draft FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON sites_draft
    USING ((SELECT app_context()) = 'system' OR site_id IN (SELECT site_id FROM sites_access WHERE user_id = (SELECT app_user())))
    WITH CHECK ((SELECT app_context()) = 'system' OR site_id IN (SELECT site_id FROM sites_access WHERE user_id = (SELECT app_user())));
CREATE POLICY writers_insert ON sites_draft AS RESTRICTIVE FOR INSERT
    WITH CHECK ((SELECT app_context()) = 'system' OR site_id IN (SELECT site_id FROM sites_access WHERE user_id = (SELECT app_user()) AND role <> 'viewer'));
CREATE POLICY writers_update ON sites_draft AS RESTRICTIVE FOR UPDATE
    USING ((SELECT app_context()) = 'system' OR site_id IN (SELECT site_id FROM sites_access WHERE user_id = (SELECT app_user()) AND role <> 'viewer'));
CREATE POLICY writers_delete ON sites_draft AS RESTRICTIVE FOR DELETE
    USING ((SELECT app_context()) = 'system' OR site_id IN (SELECT site_id FROM sites_access WHERE user_id = (SELECT app_user()) AND role <> 'viewer'));

-- sites_release
ALTER TABLE sites_release ENABLE ROW LEVEL SECURITY;
ALTER TABLE sites_release FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON sites_release
    USING ((SELECT app_context()) = 'system' OR site_id IN (SELECT site_id FROM sites_access WHERE user_id = (SELECT app_user())))
    WITH CHECK ((SELECT app_context()) = 'system' OR site_id IN (SELECT site_id FROM sites_access WHERE user_id = (SELECT app_user())));
CREATE POLICY published ON sites_release FOR SELECT
    USING ((SELECT app_context()) = 'public' AND (EXISTS (SELECT 1 FROM sites_site shown WHERE shown.live_release_id = sites_release.id)));
CREATE POLICY writers_insert ON sites_release AS RESTRICTIVE FOR INSERT
    WITH CHECK ((SELECT app_context()) = 'system' OR site_id IN (SELECT site_id FROM sites_access WHERE user_id = (SELECT app_user()) AND role <> 'viewer'));
CREATE POLICY writers_update ON sites_release AS RESTRICTIVE FOR UPDATE
    USING ((SELECT app_context()) = 'system' OR site_id IN (SELECT site_id FROM sites_access WHERE user_id = (SELECT app_user()) AND role <> 'viewer'));
CREATE POLICY writers_delete ON sites_release AS RESTRICTIVE FOR DELETE
    USING ((SELECT app_context()) = 'system' OR site_id IN (SELECT site_id FROM sites_access WHERE user_id = (SELECT app_user()) AND role <> 'viewer'));

-- sites_announcement
ALTER TABLE sites_announcement ENABLE ROW LEVEL SECURITY;
ALTER TABLE sites_announcement FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON sites_announcement
    USING ((SELECT app_context()) = 'system' OR site_id IN (SELECT site_id FROM sites_access WHERE user_id = (SELECT app_user())))
    WITH CHECK ((SELECT app_context()) = 'system' OR site_id IN (SELECT site_id FROM sites_access WHERE user_id = (SELECT app_user())));
CREATE POLICY writers_insert ON sites_announcement AS RESTRICTIVE FOR INSERT
    WITH CHECK ((SELECT app_context()) = 'system' OR site_id IN (SELECT site_id FROM sites_access WHERE user_id = (SELECT app_user()) AND role <> 'viewer'));
CREATE POLICY writers_update ON sites_announcement AS RESTRICTIVE FOR UPDATE
    USING ((SELECT app_context()) = 'system' OR site_id IN (SELECT site_id FROM sites_access WHERE user_id = (SELECT app_user()) AND role <> 'viewer'));
CREATE POLICY writers_delete ON sites_announcement AS RESTRICTIVE FOR DELETE
    USING ((SELECT app_context()) = 'system' OR site_id IN (SELECT site_id FROM sites_access WHERE user_id = (SELECT app_user()) AND role <> 'viewer'));

-- sites_revision
ALTER TABLE sites_revision ENABLE ROW LEVEL SECURITY;
ALTER TABLE sites_revision FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON sites_revision
    USING ((SELECT app_context()) = 'system' OR site_id IN (SELECT site_id FROM sites_access WHERE user_id = (SELECT app_user())))
    WITH CHECK ((SELECT app_context()) = 'system' OR site_id IN (SELECT site_id FROM sites_access WHERE user_id = (SELECT app_user())));
CREATE POLICY writers_insert ON sites_revision AS RESTRICTIVE FOR INSERT
    WITH CHECK ((SELECT app_context()) = 'system' OR site_id IN (SELECT site_id FROM sites_access WHERE user_id = (SELECT app_user()) AND role <> 'viewer'));
CREATE POLICY writers_update ON sites_revision AS RESTRICTIVE FOR UPDATE
    USING ((SELECT app_context()) = 'system' OR site_id IN (SELECT site_id FROM sites_access WHERE user_id = (SELECT app_user()) AND role <> 'viewer'));
CREATE POLICY writers_delete ON sites_revision AS RESTRICTIVE FOR DELETE
    USING ((SELECT app_context()) = 'system' OR site_id IN (SELECT site_id FROM sites_access WHERE user_id = (SELECT app_user()) AND role <> 'viewer'));

-- sites_invitation
ALTER TABLE sites_invitation ENABLE ROW LEVEL SECURITY;
ALTER TABLE sites_invitation FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON sites_invitation
    USING ((SELECT app_context()) = 'system' OR site_id IN (SELECT site_id FROM sites_access WHERE user_id = (SELECT app_user())))
    WITH CHECK ((SELECT app_context()) = 'system' OR site_id IN (SELECT site_id FROM sites_access WHERE user_id = (SELECT app_user())));
CREATE POLICY writers_insert ON sites_invitation AS RESTRICTIVE FOR INSERT
    WITH CHECK ((SELECT app_context()) = 'system' OR site_id IN (SELECT site_id FROM sites_access WHERE user_id = (SELECT app_user()) AND role <> 'viewer'));
CREATE POLICY writers_update ON sites_invitation AS RESTRICTIVE FOR UPDATE
    USING ((SELECT app_context()) = 'system' OR site_id IN (SELECT site_id FROM sites_access WHERE user_id = (SELECT app_user()) AND role <> 'viewer'));
CREATE POLICY writers_delete ON sites_invitation AS RESTRICTIVE FOR DELETE
    USING ((SELECT app_context()) = 'system' OR site_id IN (SELECT site_id FROM sites_access WHERE user_id = (SELECT app_user()) AND role <> 'viewer'));

-- sites_schedule
ALTER TABLE sites_schedule ENABLE ROW LEVEL SECURITY;
ALTER TABLE sites_schedule FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON sites_schedule
    USING ((SELECT app_context()) = 'system' OR site_id IN (SELECT site_id FROM sites_access WHERE user_id = (SELECT app_user())))
    WITH CHECK ((SELECT app_context()) = 'system' OR site_id IN (SELECT site_id FROM sites_access WHERE user_id = (SELECT app_user())));
CREATE POLICY writers_insert ON sites_schedule AS RESTRICTIVE FOR INSERT
    WITH CHECK ((SELECT app_context()) = 'system' OR site_id IN (SELECT site_id FROM sites_access WHERE user_id = (SELECT app_user()) AND role <> 'viewer'));
CREATE POLICY writers_update ON sites_schedule AS RESTRICTIVE FOR UPDATE
    USING ((SELECT app_context()) = 'system' OR site_id IN (SELECT site_id FROM sites_access WHERE user_id = (SELECT app_user()) AND role <> 'viewer'));
CREATE POLICY writers_delete ON sites_schedule AS RESTRICTIVE FOR DELETE
    USING ((SELECT app_context()) = 'system' OR site_id IN (SELECT site_id FROM sites_access WHERE user_id = (SELECT app_user()) AND role <> 'viewer'));

-- sites_review
ALTER TABLE sites_review ENABLE ROW LEVEL SECURITY;
ALTER TABLE sites_review FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON sites_review
    USING ((SELECT app_context()) = 'system' OR site_id IN (SELECT site_id FROM sites_access WHERE user_id = (SELECT app_user())))
    WITH CHECK ((SELECT app_context()) = 'system' OR site_id IN (SELECT site_id FROM sites_access WHERE user_id = (SELECT app_user())));
CREATE POLICY writers_insert ON sites_review AS RESTRICTIVE FOR INSERT
    WITH CHECK ((SELECT app_context()) = 'system' OR site_id IN (SELECT site_id FROM sites_access WHERE user_id = (SELECT app_user()) AND role <> 'viewer'));
CREATE POLICY writers_update ON sites_review AS RESTRICTIVE FOR UPDATE
    USING ((SELECT app_context()) = 'system' OR site_id IN (SELECT site_id FROM sites_access WHERE user_id = (SELECT app_user()) AND role <> 'viewer'));
CREATE POLICY writers_delete ON sites_review AS RESTRICTIVE FOR DELETE
    USING ((SELECT app_context()) = 'system' OR site_id IN (SELECT site_id FROM sites_access WHERE user_id = (SELECT app_user()) AND role <> 'viewer'));

-- sites_preview
ALTER TABLE sites_preview ENABLE ROW LEVEL SECURITY;
ALTER TABLE sites_preview FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON sites_preview
    USING ((SELECT app_context()) = 'system' OR site_id IN (SELECT site_id FROM sites_access WHERE user_id = (SELECT app_user())))
    WITH CHECK ((SELECT app_context()) = 'system' OR site_id IN (SELECT site_id FROM sites_access WHERE user_id = (SELECT app_user())));
CREATE POLICY writers_insert ON sites_preview AS RESTRICTIVE FOR INSERT
    WITH CHECK ((SELECT app_context()) = 'system' OR site_id IN (SELECT site_id FROM sites_access WHERE user_id = (SELECT app_user()) AND role <> 'viewer'));
CREATE POLICY writers_update ON sites_preview AS RESTRICTIVE FOR UPDATE
    USING ((SELECT app_context()) = 'system' OR site_id IN (SELECT site_id FROM sites_access WHERE user_id = (SELECT app_user()) AND role <> 'viewer'));
CREATE POLICY writers_delete ON sites_preview AS RESTRICTIVE FOR DELETE
    USING ((SELECT app_context()) = 'system' OR site_id IN (SELECT site_id FROM sites_access WHERE user_id = (SELECT app_user()) AND role <> 'viewer'));

-- sites_post
ALTER TABLE sites_post ENABLE ROW LEVEL SECURITY;
ALTER TABLE sites_post FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON sites_post
    USING ((SELECT app_context()) = 'system' OR site_id IN (SELECT site_id FROM sites_access WHERE user_id = (SELECT app_user())))
    WITH CHECK ((SELECT app_context()) = 'system' OR site_id IN (SELECT site_id FROM sites_access WHERE user_id = (SELECT app_user())));
CREATE POLICY published ON sites_post FOR SELECT
    USING ((SELECT app_context()) = 'public' AND (live AND deleted_at IS NULL AND (SELECT true FROM sites_site shown WHERE shown.id = sites_post.site_id)));
CREATE POLICY writers_insert ON sites_post AS RESTRICTIVE FOR INSERT
    WITH CHECK ((SELECT app_context()) = 'system' OR site_id IN (SELECT site_id FROM sites_access WHERE user_id = (SELECT app_user()) AND role <> 'viewer'));
CREATE POLICY writers_update ON sites_post AS RESTRICTIVE FOR UPDATE
    USING ((SELECT app_context()) = 'system' OR site_id IN (SELECT site_id FROM sites_access WHERE user_id = (SELECT app_user()) AND role <> 'viewer'));
CREATE POLICY writers_delete ON sites_post AS RESTRICTIVE FOR DELETE
    USING ((SELECT app_context()) = 'system' OR site_id IN (SELECT site_id FROM sites_access WHERE user_id = (SELECT app_user()) AND role <> 'viewer'));

-- sites_formerslug
ALTER TABLE sites_formerslug ENABLE ROW LEVEL SECURITY;
ALTER TABLE sites_formerslug FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON sites_formerslug
    USING ((SELECT app_context()) = 'system' OR site_id IN (SELECT site_id FROM sites_access WHERE user_id = (SELECT app_user())))
    WITH CHECK ((SELECT app_context()) = 'system' OR site_id IN (SELECT site_id FROM sites_access WHERE user_id = (SELECT app_user())));
CREATE POLICY published ON sites_formerslug FOR SELECT
    USING ((SELECT app_context()) = 'public' AND ((SELECT true FROM sites_post shown WHERE shown.id = sites_formerslug.post_id)));
CREATE POLICY writers_insert ON sites_formerslug AS RESTRICTIVE FOR INSERT
    WITH CHECK ((SELECT app_context()) = 'system' OR site_id IN (SELECT site_id FROM sites_access WHERE user_id = (SELECT app_user()) AND role <> 'viewer'));
CREATE POLICY writers_update ON sites_formerslug AS RESTRICTIVE FOR UPDATE
    USING ((SELECT app_context()) = 'system' OR site_id IN (SELECT site_id FROM sites_access WHERE user_id = (SELECT app_user()) AND role <> 'viewer'));
CREATE POLICY writers_delete ON sites_formerslug AS RESTRICTIVE FOR DELETE
    USING ((SELECT app_context()) = 'system' OR site_id IN (SELECT site_id FROM sites_access WHERE user_id = (SELECT app_user()) AND role <> 'viewer'));
