-- A run names unlogged tables, whose rows it does not include.
-- warns: public.basket
-- expect: (SELECT count(*) FROM basket) = 1
CREATE UNLOGGED TABLE basket (k text, v text); INSERT INTO basket VALUES ('a', 'b');
