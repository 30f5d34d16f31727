-- The audit trail: partitioned entries and seals that triggers protect from changes, and the function that records.
CREATE FUNCTION audit_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit trail is never changed' USING ERRCODE = 'restrict_violation';
END $$;

CREATE TABLE audit_entry (
    id uuid PRIMARY KEY,
    event text NOT NULL,
    actor_kind text NOT NULL CHECK (actor_kind IN ('user', 'key', 'staff', 'system', 'anonymous')),
    actor_id uuid,
    subject_type text NOT NULL,
    subject_id uuid,
    site_id uuid,
    owner_id uuid,
    session_id uuid,
    request_id text NOT NULL,
    facts text NOT NULL,
    personal text NOT NULL,
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

-- One call for each entry: PostgreSQL keeps the plans of a function, and those of a statement it makes anew each time.
CREATE FUNCTION audit_record(
    new_id uuid, new_event text, new_actor_kind text, new_actor_id uuid, new_subject_type text, new_subject_id uuid, new_site_id uuid,
    new_owner_id uuid, new_session_id uuid, new_request_id text, new_facts text, new_personal text, new_created_at timestamptz,
    new_fields text[], new_values text[], new_salts bytea[]
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO audit_entry VALUES (
        new_id, new_event, new_actor_kind, new_actor_id, new_subject_type, new_subject_id, new_site_id,
        new_owner_id, new_session_id, new_request_id, new_facts, new_personal, new_created_at
    );
    INSERT INTO audit_pending (entry_id, since) VALUES (new_id, new_created_at);
    IF cardinality(new_fields) > 0 THEN
        INSERT INTO audit_personal (entry_id, field, value, salt) SELECT new_id, * FROM unnest(new_fields, new_values, new_salts);
    END IF;
END $$;

CREATE TRIGGER refuse_update BEFORE UPDATE ON audit_personal FOR EACH ROW EXECUTE FUNCTION audit_refuse();
