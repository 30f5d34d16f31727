-- Row-level security of analytics settings and saved reports. See core/tenancy.py.
-- analytics_settings
ALTER TABLE analytics_settings ENABLE ROW LEVEL SECURITY;
ALTER TABLE analytics_settings FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON analytics_settings
    USING ((SELECT app_context()) = 'system' OR site_id IN (SELECT site_id FROM sites_access WHERE user_id = (SELECT app_user())))
    WITH CHECK ((SELECT app_context()) = 'system' OR site_id IN (SELECT site_id FROM sites_access WHERE user_id = (SELECT app_user())));

-- analytics_definition
ALTER TABLE analytics_definition ENABLE ROW LEVEL SECURITY;
ALTER TABLE analytics_definition FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON analytics_definition
    USING ((SELECT app_context()) = 'system' OR site_id IN (SELECT site_id FROM sites_access WHERE user_id = (SELECT app_user())))
    WITH CHECK ((SELECT app_context()) = 'system' OR site_id IN (SELECT site_id FROM sites_access WHERE user_id = (SELECT app_user())));
CREATE POLICY writers_insert ON analytics_definition AS RESTRICTIVE FOR INSERT
    WITH CHECK ((SELECT app_context()) = 'system' OR site_id IN (SELECT site_id FROM sites_access WHERE user_id = (SELECT app_user()) AND role <> 'viewer'));
CREATE POLICY writers_update ON analytics_definition AS RESTRICTIVE FOR UPDATE
    USING ((SELECT app_context()) = 'system' OR site_id IN (SELECT site_id FROM sites_access WHERE user_id = (SELECT app_user()) AND role <> 'viewer'));
CREATE POLICY writers_delete ON analytics_definition AS RESTRICTIVE FOR DELETE
    USING ((SELECT app_context()) = 'system' OR site_id IN (SELECT site_id FROM sites_access WHERE user_id = (SELECT app_user()) AND role <> 'viewer'));

-- analytics_annotation
ALTER TABLE analytics_annotation ENABLE ROW LEVEL SECURITY;
ALTER TABLE analytics_annotation FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON analytics_annotation
    USING ((SELECT app_context()) = 'system' OR site_id IN (SELECT site_id FROM sites_access WHERE user_id = (SELECT app_user())))
    WITH CHECK ((SELECT app_context()) = 'system' OR site_id IN (SELECT site_id FROM sites_access WHERE user_id = (SELECT app_user())));
CREATE POLICY writers_insert ON analytics_annotation AS RESTRICTIVE FOR INSERT
    WITH CHECK ((SELECT app_context()) = 'system' OR site_id IN (SELECT site_id FROM sites_access WHERE user_id = (SELECT app_user()) AND role <> 'viewer'));
CREATE POLICY writers_update ON analytics_annotation AS RESTRICTIVE FOR UPDATE
    USING ((SELECT app_context()) = 'system' OR site_id IN (SELECT site_id FROM sites_access WHERE user_id = (SELECT app_user()) AND role <> 'viewer'));
CREATE POLICY writers_delete ON analytics_annotation AS RESTRICTIVE FOR DELETE
    USING ((SELECT app_context()) = 'system' OR site_id IN (SELECT site_id FROM sites_access WHERE user_id = (SELECT app_user()) AND role <> 'viewer'));

-- analytics_share
ALTER TABLE analytics_share ENABLE ROW LEVEL SECURITY;
ALTER TABLE analytics_share FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON analytics_share
    USING ((SELECT app_context()) = 'system' OR site_id IN (SELECT site_id FROM sites_access WHERE user_id = (SELECT app_user())))
    WITH CHECK ((SELECT app_context()) = 'system' OR site_id IN (SELECT site_id FROM sites_access WHERE user_id = (SELECT app_user())));
CREATE POLICY writers_insert ON analytics_share AS RESTRICTIVE FOR INSERT
    WITH CHECK ((SELECT app_context()) = 'system' OR site_id IN (SELECT site_id FROM sites_access WHERE user_id = (SELECT app_user()) AND role <> 'viewer'));
CREATE POLICY writers_update ON analytics_share AS RESTRICTIVE FOR UPDATE
    USING ((SELECT app_context()) = 'system' OR site_id IN (SELECT site_id FROM sites_access WHERE user_id = (SELECT app_user()) AND role <> 'viewer'));
CREATE POLICY writers_delete ON analytics_share AS RESTRICTIVE FOR DELETE
    USING ((SELECT app_context()) = 'system' OR site_id IN (SELECT site_id FROM sites_access WHERE user_id = (SELECT app_user()) AND role <> 'viewer'));

-- analytics_subscription
ALTER TABLE analytics_subscription ENABLE ROW LEVEL SECURITY;
ALTER TABLE analytics_subscription FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON analytics_subscription
    USING ((SELECT app_context()) = 'system' OR site_id IN (SELECT site_id FROM sites_access WHERE user_id = (SELECT app_user())))
    WITH CHECK ((SELECT app_context()) = 'system' OR site_id IN (SELECT site_id FROM sites_access WHERE user_id = (SELECT app_user())));
