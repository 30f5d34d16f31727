-- A table with a column of a view's row type is created after the view.
-- expect: (SELECT (before).a FROM history) = 4
CREATE TABLE current (a int); CREATE VIEW shown AS SELECT a FROM current;
CREATE TABLE history (before shown); INSERT INTO history VALUES (ROW(4));
