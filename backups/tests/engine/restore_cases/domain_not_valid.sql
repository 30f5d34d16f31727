-- A domain constraint that older rows violate stays not validated.
-- expect: (SELECT count(*) FROM account WHERE balance = -1) = 1 AND (SELECT NOT convalidated FROM pg_constraint WHERE conname = 'above_zero')
CREATE DOMAIN amount AS int; CREATE TABLE account (balance amount); INSERT INTO account VALUES (-1);
ALTER DOMAIN amount ADD CONSTRAINT above_zero CHECK (VALUE > 0) NOT VALID;
