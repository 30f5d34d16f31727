"""The same events in the tables that Umami keeps on PostgreSQL, with its indexes and queries."""

from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import Any

from django.db import connection

SESSION_INDEXES = (
    "created_at",
    "website_id",
    "website_id, created_at",
    "website_id, created_at, browser",
    "website_id, created_at, os",
    "website_id, created_at, device",
    "website_id, created_at, language",
    "website_id, created_at, country",
    "website_id, created_at, region",
)
EVENT_INDEXES = (
    "created_at",
    "session_id",
    "visit_id",
    "website_id",
    "website_id, created_at",
    "website_id, created_at, url_path",
    "website_id, created_at, url_query",
    "website_id, created_at, referrer_domain",
    "website_id, created_at, page_title",
    "website_id, created_at, event_name",
    "website_id, created_at, tag",
    "website_id, session_id, created_at",
    "website_id, visit_id, created_at",
    "website_id, created_at, hostname",
)
CREATE_TABLES = """
CREATE UNLOGGED TABLE umami_session AS
SELECT
    md5('s' || session)::uuid AS session_id,
    md5('w' || site_number)::uuid AS website_id,
    'Chrome'::varchar(20) AS browser,
    'Windows 10'::varchar(20) AS os,
    'desktop'::varchar(20) AS device,
    '1920x1080'::varchar(11) AS screen,
    'de-DE'::varchar(35) AS language,
    (ARRAY['DE', 'FR', 'GB', 'US'])[1 + session % 4]::char(2) AS country,
    ''::varchar(20) AS region,
    min(created_at) AS created_at
FROM analytics_event
GROUP BY session, site_number;
CREATE UNLOGGED TABLE umami_event AS
SELECT
    gen_random_uuid() AS event_id,
    md5('w' || e.site_number)::uuid AS website_id,
    md5('s' || session)::uuid AS session_id,
    md5('v' || session)::uuid AS visit_id,
    created_at,
    t.text::varchar(500) AS url_path,
    ''::varchar(500) AS url_query,
    ''::varchar(500) AS referrer_path,
    (ARRAY['google.com', '', 't.co', 'bing.com'])[1 + e.source % 4]::varchar(500) AS referrer_domain,
    'A page'::varchar(500) AS page_title,
    1 AS event_type,
    NULL::varchar(50) AS event_name,
    NULL::varchar(50) AS tag,
    'bakery.example'::varchar(100) AS hostname
FROM analytics_event e
JOIN analytics_term t ON t.id = e.page;
ALTER TABLE umami_session ADD PRIMARY KEY (session_id);
ALTER TABLE umami_event ADD PRIMARY KEY (event_id);
"""
SUMMARY = """
SELECT
    sum(views),
    count(DISTINCT session_id),
    count(DISTINCT visit_id),
    sum((views = 1)::int),
    sum(extract(epoch FROM last - first))
FROM (
    SELECT session_id, visit_id, count(*) AS views, min(created_at) AS first, max(created_at) AS last
    FROM umami_event
    WHERE website_id = %(site)s
      AND created_at BETWEEN %(since)s AND %(until)s
      AND event_type = 1 {condition}
    GROUP BY 1, 2
) AS visits
"""
PAGES = """
SELECT url_path, count(DISTINCT session_id) AS visitors
FROM umami_event
WHERE website_id = %(site)s
  AND created_at BETWEEN %(since)s AND %(until)s
  AND event_type = 1
GROUP BY 1
ORDER BY 2 DESC
LIMIT 20
"""
SOURCES = """
SELECT referrer_domain, count(DISTINCT session_id) AS visitors
FROM umami_event
WHERE website_id = %(site)s
  AND created_at BETWEEN %(since)s AND %(until)s
  AND event_type = 1
  AND url_path = %(page)s
GROUP BY 1
ORDER BY 2 DESC
LIMIT 20
"""


def measure(
    first: date,
    last: date,
    page: str,
    median_milliseconds: Callable[[int, Callable[[], Any]], float],
) -> dict[str, Any]:
    """Median milliseconds of each query over the largest site, and the bytes of a row with its indexes.

    The queries are about the days from `first` to `last`, and the filtered ones about `page`.
    """
    site, row_bytes = _create_tables()
    since = datetime.fromisoformat(f"{first}T00:00:00+00:00")
    until = datetime.fromisoformat(f"{last}T00:00:00+00:00") + timedelta(days=1)
    parameters = {"site": site, "since": since, "until": until, "page": page}

    def measure_query(query: str) -> float:
        def execute() -> None:
            with connection.cursor() as cursor:
                cursor.execute(query, parameters)
                cursor.fetchall()

        return median_milliseconds(3, execute)

    return {
        "umami_bytes_a_row": row_bytes,
        "umami_summary_ms": measure_query(SUMMARY.format(condition="")),
        "umami_pages_ms": measure_query(PAGES),
        "umami_summary_filtered_ms": measure_query(SUMMARY.format(condition="AND url_path = %(page)s")),
        "umami_sources_filtered_ms": measure_query(SOURCES),
    }


def _create_tables() -> tuple[Any, int]:
    """Copy the events into Umami's tables; return the id of the largest site and the bytes of a row."""
    with connection.cursor() as cursor:
        cursor.execute(CREATE_TABLES)
        for table, indexes in (("umami_session", SESSION_INDEXES), ("umami_event", EVENT_INDEXES)):
            for columns in indexes:
                cursor.execute(f"CREATE INDEX ON {table} ({columns})")
        cursor.execute("ANALYZE umami_session, umami_event")
        cursor.execute(
            "SELECT md5('w1')::uuid, pg_total_relation_size('umami_event') / count(*) FROM umami_event"
        )
        site, row_bytes = cursor.fetchone()
    return site, row_bytes
