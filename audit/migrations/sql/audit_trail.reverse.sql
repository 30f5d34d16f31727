DROP FUNCTION audit_record;
DROP TABLE audit_seal;
DROP TABLE audit_entry;
DROP TRIGGER refuse_update ON audit_personal;
DROP FUNCTION audit_refuse();
