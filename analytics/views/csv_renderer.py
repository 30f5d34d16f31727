"""Renders reports as CSV files."""

import csv
import io
from typing import Any

from rest_framework import renderers

from analytics.reports.event_sql import COLUMN_BY_EVENT_FIELD
from analytics.serializers.reports import (
    ConversionSerializer,
    MetricsSerializer,
)

# Spreadsheets read a file as UTF-8 only when it begins with this.
BYTE_ORDER_MARK = "\ufeff"
FORMULA_PREFIXES = {"=", "+", "-", "@", "\t", "\r"}
# The header of a CSV file without rows, by action.
CSV_COLUMNS = {
    "breakdown": ["value", *MetricsSerializer().fields],
    "drops": ["reason", "count"],
    "events": [*COLUMN_BY_EVENT_FIELD],
    "conversions": ["id", "name", *ConversionSerializer().fields],
}


class CsvRenderer(renderers.BaseRenderer):
    """Renders the rows of a report as a CSV file (RFC 4180) with a name, for a spreadsheet.

    Texts that a spreadsheet would run as a formula get a leading apostrophe (OWASP, CSV injection).
    """

    media_type = "text/csv"
    format = "csv"
    charset = "utf-8"

    def render(
        self, data: Any, accepted_media_type: str | None = None, renderer_context: Any = None
    ) -> bytes:
        context = renderer_context or {}
        rows = data.get("results", [data.get("metrics") or {}])
        action = getattr(context.get("view"), "action", "") or "report"
        columns = [*rows[0]] if rows else CSV_COLUMNS.get(action, [])
        if "response" in context:
            context["response"]["Content-Disposition"] = f'attachment; filename="{action}.csv"'
        buffer = io.StringIO()
        buffer.write(BYTE_ORDER_MARK)
        writer = csv.DictWriter(buffer, columns or ["nothing"])
        writer.writeheader()
        writer.writerows({name: escape_formula(value) for name, value in row.items()} for row in rows)
        return buffer.getvalue().encode()


def escape_formula(value: Any) -> Any:
    """The value, with an apostrophe before a text that a spreadsheet would run as a formula."""
    return f"'{value}" if isinstance(value, str) and value[:1] in FORMULA_PREFIXES else value
