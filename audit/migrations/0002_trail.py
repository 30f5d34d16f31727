from django.db import migrations

TRAIL = """
CREATE FUNCTION audit_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit trail is never changed' USING ERRCODE = 'restrict_violation';
END $$;

CREATE TABLE audit_entry (
    id uuid PRIMARY KEY,
    event text NOT NULL,
    actor_kind text NOT NULL CHECK (actor_kind IN ('user', 'staff', 'system', 'anonymous')),
    actor_id uuid,
    subject_type text NOT NULL,
    subject_id uuid,
    site_id uuid,
    owner_id uuid,
    session_id uuid,
    request_id text NOT NULL,
    facts text NOT NULL CHECK (jsonb_typeof(facts::jsonb) = 'object'),
    personal text NOT NULL CHECK (jsonb_typeof(personal::jsonb) = 'object'),
    created_at timestamptz NOT NULL
) PARTITION BY RANGE (id);
CREATE INDEX audit_entry_owner ON audit_entry (owner_id, id);
CREATE INDEX audit_entry_actor ON audit_entry (actor_id, id);
CREATE INDEX audit_entry_subject ON audit_entry (subject_id, id);
CREATE INDEX audit_entry_site ON audit_entry (site_id, id);
CREATE TRIGGER refuse_change BEFORE UPDATE OR DELETE ON audit_entry FOR EACH ROW EXECUTE FUNCTION audit_refuse();
CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON audit_entry EXECUTE FUNCTION audit_refuse();

CREATE TABLE audit_seal (
    number bigint PRIMARY KEY CHECK (number > 0),
    entry_id uuid NOT NULL UNIQUE,
    leaf bytea NOT NULL CHECK (octet_length(leaf) = 32),
    digest bytea NOT NULL CHECK (octet_length(digest) = 32)
);
CREATE TRIGGER refuse_change BEFORE UPDATE OR DELETE ON audit_seal FOR EACH ROW EXECUTE FUNCTION audit_refuse();
CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON audit_seal EXECUTE FUNCTION audit_refuse();

CREATE TRIGGER refuse_update BEFORE UPDATE ON audit_personal FOR EACH ROW EXECUTE FUNCTION audit_refuse();
"""
GONE = """
DROP TABLE audit_seal;
DROP TABLE audit_entry;
DROP TRIGGER refuse_update ON audit_personal;
DROP FUNCTION audit_refuse();
"""


class Migration(migrations.Migration):
    dependencies = [("audit", "0001_initial")]
    operations = [migrations.RunSQL(TRAIL, GONE)]
