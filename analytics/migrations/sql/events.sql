-- Events by month, the days whose roll-ups are outdated, and the salts of visitor ids (unlogged: no backup has them).
CREATE TABLE analytics_event (
    created_at timestamptz NOT NULL, event_id bigint NOT NULL, visitor bigint, session bigint,
    site_number integer NOT NULL, kind smallint NOT NULL,
    page integer NOT NULL, name integer, referrer integer, source integer,
    utm_source integer, utm_medium integer, utm_campaign integer, utm_content integer, utm_term integer,
    country integer, region integer, browser integer, os integer, device integer, language integer,
    engaged integer, value numeric(14, 3), currency char(3), props jsonb
) PARTITION BY RANGE (created_at);
CREATE INDEX analytics_event_site ON analytics_event (site_number, created_at);
CREATE TABLE analytics_dirty (site_number integer NOT NULL, day date NOT NULL);
CREATE INDEX analytics_dirty_site ON analytics_dirty (site_number, day);
CREATE UNLOGGED TABLE analytics_salt (
    site_number integer NOT NULL, day date NOT NULL, salt bytea NOT NULL, dies_at timestamptz NOT NULL, PRIMARY KEY (site_number, day)
);
-- The same expression as `analytics.reports.sql_fragments.SAMPLING_NUMBER`: an index serves only its own expression.
CREATE INDEX analytics_event_sample ON analytics_event (site_number, created_at) WHERE
    (coalesce(visitor, nullif(event_id, 0), (extract(epoch FROM created_at - '1970-01-01 00:00:00+00'::timestamptz) * 1000)::bigint) & 15) = 0;
