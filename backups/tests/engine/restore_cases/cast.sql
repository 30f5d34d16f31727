-- A cast is restored and stays implicit.
-- expect: (SELECT castcontext FROM pg_cast WHERE casttarget = 'mood'::regtype AND castsource = 'varchar'::regtype) = 'i'
CREATE TYPE mood AS ENUM ('sad', 'well');
CREATE CAST (varchar AS mood) WITH INOUT AS IMPLICIT;
CREATE TABLE diary (m mood); INSERT INTO diary VALUES ('well');
