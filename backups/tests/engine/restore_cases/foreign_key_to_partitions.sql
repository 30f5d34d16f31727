-- A foreign key that refers to a unique index of a partitioned table is validated.
-- expect: (SELECT convalidated FROM pg_constraint WHERE conname = 'ticket_of_show' AND conrelid = 'ticket'::regclass) AND (SELECT count(*) FROM ticket) = 2
CREATE TABLE show (id int, day date) PARTITION BY RANGE (day);
CREATE TABLE show_june PARTITION OF show FOR VALUES FROM ('2031-06-01') TO ('2031-07-01');
CREATE UNIQUE INDEX show_once ON show (id, day);
CREATE TABLE ticket (show int, day date, CONSTRAINT ticket_of_show FOREIGN KEY (show, day) REFERENCES show (id, day));
INSERT INTO show VALUES (1, '2031-06-02'), (2, '2031-06-03');
INSERT INTO ticket VALUES (1, '2031-06-02'), (1, '2031-06-02');
