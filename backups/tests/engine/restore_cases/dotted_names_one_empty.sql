-- Rows are not lost when the other table with the same joined name is empty.
-- expect: (SELECT count(*) FROM "shop"."de.item") = 2 AND (SELECT count(*) FROM "shop.de"."item") = 0
CREATE SCHEMA "shop"; CREATE SCHEMA "shop.de";
CREATE TABLE "shop"."de.item" (x text); INSERT INTO "shop"."de.item" VALUES ('anvil'), ('awl');
CREATE TABLE "shop.de"."item" (x text);
