"""Reports as CSV (`views/csv_renderer.py`)."""

import codecs
import csv
import io
from datetime import UTC, datetime

import pytest

from analytics.tests.helpers import (
    MARCH_DAYS,
    write_events,
)

pytestmark = pytest.mark.django_db


def at(day, hour=12, minute=0):
    """A time in March 2026."""
    return datetime(2026, 3, day, hour, minute, tzinfo=UTC)


def test_csv_renderer_escapes_formulas(site, owner):
    write_events(site, (at(1), 1, 11, {"page": "/", "source": "=cmd|' /C calc'!A0"}))

    response = owner.get(f"sites/{site.pk}/analytics/breakdown?{MARCH_DAYS}&dimension=source&format=csv")

    assert response["Content-Type"] == "text/csv; charset=utf-8"
    assert response["Content-Disposition"] == 'attachment; filename="breakdown.csv"'
    (row,) = csv.DictReader(io.StringIO(response.content.decode("utf-8-sig")))
    assert (row["value"], row["visitors"]) == ("'=cmd|' /C calc'!A0", "1")


@pytest.mark.parametrize("path", ["summary", "timeseries", "breakdown", "drops", "realtime"])
def test_csv_renderer_writes_a_header_without_rows(site, owner, path):
    response = owner.get(f"sites/{site.pk}/analytics/{path}?format=csv")

    assert (response.status_code, response["Content-Type"]) == (200, "text/csv; charset=utf-8")
    assert response.content.startswith(codecs.BOM_UTF8)  # spreadsheets read it as UTF-8 only then
    assert response.content.decode("utf-8-sig").strip()
    assert response["Content-Disposition"] == f'attachment; filename="{path}.csv"'
