-- A regclass value may name a view.
-- expect: (SELECT what = 'ledger_short'::regclass FROM watched)
CREATE TABLE ledger (a int); CREATE VIEW ledger_short AS SELECT a FROM ledger;
CREATE TABLE watched (what regclass); INSERT INTO watched VALUES ('ledger_short');
