-- Rows are read again after the table whose row type they use got a column.
-- expect: (SELECT place::text FROM parcel) = '("Elm Street",5,)'
CREATE TABLE place (street text, door int); CREATE TABLE parcel (id int, place place);
INSERT INTO parcel VALUES (1, ROW('Elm Street', 5));
-- between the runs:
ALTER TABLE place ADD COLUMN zip text;
