-- An aggregate is restored.
-- expect: (SELECT earliest(n) FROM (VALUES (7), (8)) AS v(n)) = 7
CREATE FUNCTION keep_left(anyelement, anyelement) RETURNS anyelement LANGUAGE sql IMMUTABLE STRICT AS 'SELECT $1';
CREATE AGGREGATE earliest(anyelement) (SFUNC = keep_left, STYPE = anyelement);
