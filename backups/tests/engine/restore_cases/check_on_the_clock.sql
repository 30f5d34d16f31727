-- A run names a CHECK that depends on the time, because it may refuse the row at a restore.
-- warns: public.offer.offer_open
-- expect: (SELECT count(*) FROM offer) = 1 AND EXISTS (SELECT FROM pg_constraint WHERE conname = 'offer_open')
CREATE TABLE offer (until timestamptz CONSTRAINT offer_open CHECK (until > now()));
INSERT INTO offer VALUES (clock_timestamp() + interval '1 second');
SELECT pg_sleep(1.2);
