-- Two tables whose joined schema and name are equal keep their own rows.
-- expect: (SELECT string_agg(x, ',' ORDER BY x) FROM "shop"."de.item") = 'anvil,awl' AND (SELECT string_agg(x, ',' ORDER BY x) FROM "shop.de"."item") = 'brush'
CREATE SCHEMA "shop"; CREATE SCHEMA "shop.de";
CREATE TABLE "shop"."de.item" (x text); INSERT INTO "shop"."de.item" VALUES ('anvil'), ('awl');
CREATE TABLE "shop.de"."item" (x text); INSERT INTO "shop.de"."item" VALUES ('brush');
