-- The tenancy context of a transaction, for row-level security policies. See core/tenancy.py.
CREATE FUNCTION app_context() RETURNS text LANGUAGE sql STABLE PARALLEL SAFE
    AS $$ SELECT NULLIF(current_setting('app.context', true), '') $$;
CREATE FUNCTION app_user() RETURNS uuid LANGUAGE sql STABLE PARALLEL SAFE
    AS $$ SELECT substring(current_setting('app.context', true) FROM '^user:(.{36})$')::uuid $$;
