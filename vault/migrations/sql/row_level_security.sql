-- Row-level security of vaults: `system` sees all rows, a user their own. See core/tenancy.py.
-- vault_holder
ALTER TABLE vault_holder ENABLE ROW LEVEL SECURITY;
ALTER TABLE vault_holder FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON vault_holder
    USING ((SELECT app_context()) = 'system' OR owner_id = (SELECT app_user()))
    WITH CHECK ((SELECT app_context()) = 'system' OR owner_id = (SELECT app_user()));

-- vault_vault
ALTER TABLE vault_vault ENABLE ROW LEVEL SECURITY;
ALTER TABLE vault_vault FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON vault_vault
    USING ((SELECT app_context()) = 'system' OR owner_id = (SELECT app_user()))
    WITH CHECK ((SELECT app_context()) = 'system' OR owner_id = (SELECT app_user()));

-- vault_item
ALTER TABLE vault_item ENABLE ROW LEVEL SECURITY;
ALTER TABLE vault_item FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON vault_item
    USING ((SELECT app_context()) = 'system' OR owner_id = (SELECT app_user()))
    WITH CHECK ((SELECT app_context()) = 'system' OR owner_id = (SELECT app_user()));

-- vault_formerversion
ALTER TABLE vault_formerversion ENABLE ROW LEVEL SECURITY;
ALTER TABLE vault_formerversion FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON vault_formerversion
    USING ((SELECT app_context()) = 'system' OR owner_id = (SELECT app_user()))
    WITH CHECK ((SELECT app_context()) = 'system' OR owner_id = (SELECT app_user()));
