"""JSONRenderer: the JSON that clients receive."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

from django.utils.translation import gettext_lazy

from core.http.responses import JSONRenderer


def test_json_renderer_renders_as_drf_does():
    pk = UUID("01890000-0000-7000-8000-000000000000")
    at = datetime(2026, 12, 1, 9, 30, tzinfo=UTC)

    body = JSONRenderer().render({"at": at, "sum": Decimal("1.50"), "id": pk, "text": gettext_lazy("Ünï")})

    assert body == f'{{"at":"2026-12-01T09:30:00Z","sum":1.5,"id":"{pk}","text":"Ünï"}}'.encode()
    assert JSONRenderer().render(None) == b""


def test_json_renderer_renders_integers_that_earlier_versions_stored():
    assert json.loads(JSONRenderer().render({"number": 10**30})) == {"number": 10**30}
