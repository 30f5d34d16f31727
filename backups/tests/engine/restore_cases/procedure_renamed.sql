-- Values of regprocedure and regtype name the same objects after a function was renamed.
-- expect: (SELECT run = 'send_later()'::regprocedure AND kind = 'int4'::regtype FROM task)
CREATE FUNCTION send() RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE TABLE task (run regprocedure, kind regtype); INSERT INTO task VALUES ('send()', 'int4');
-- between the runs:
ALTER FUNCTION send() RENAME TO send_later;
