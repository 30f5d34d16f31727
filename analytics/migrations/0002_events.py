from django.db import migrations

from core.tenancy import isolate

EVENTS = """
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
"""
NO_EVENTS = "DROP TABLE analytics_salt; DROP TABLE analytics_dirty; DROP TABLE analytics_event;"


class Migration(migrations.Migration):
    dependencies = [
        ("analytics", "0001_initial"),
        ("core", "0002_context_functions"),
        ("sites", "0009_site_number"),
    ]
    operations = [migrations.RunSQL(EVENTS, NO_EVENTS), isolate("analytics_settings")]
