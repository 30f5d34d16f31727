-- A view that uses an operator gives the same rows.
-- expect: (SELECT array_agg(a) FROM opposite) = '{-3}'
CREATE FUNCTION negated(int, int) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT $1 = -$2';
CREATE OPERATOR ~=~ (LEFTARG = int, RIGHTARG = int, FUNCTION = negated);
CREATE TABLE number (a int); INSERT INTO number VALUES (3), (-3);
CREATE VIEW opposite AS SELECT a FROM number WHERE a OPERATOR(public.~=~) 3;
