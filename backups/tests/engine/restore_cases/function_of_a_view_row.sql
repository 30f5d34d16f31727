-- A function that takes a row of a view is created after the view.
-- expect: (SELECT full_name(p) FROM people AS p) = 'Ada L'
CREATE TABLE person (first text, last text); INSERT INTO person VALUES ('Ada', 'L');
CREATE VIEW people AS SELECT first, last FROM person;
CREATE FUNCTION full_name(people) RETURNS text LANGUAGE sql STABLE AS $$ SELECT $1.first || ' ' || $1.last $$;
