-- A regclass value names the same table after that was renamed.
-- expect: (SELECT what = 'ledger_old'::regclass FROM watched)
CREATE TABLE ledger (a int); CREATE TABLE watched (what regclass); INSERT INTO watched VALUES ('ledger');
-- between the runs:
ALTER TABLE ledger RENAME TO ledger_old;
