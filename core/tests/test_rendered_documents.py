import gzip
import json
import time
from concurrent.futures import ThreadPoolExecutor

import brotli
import pytest
from django.test import Client, RequestFactory

from core.http.rendered_documents import RenderedDocument


def test_rendered_document_is_rendered_once_for_parallel_callers():
    renders = []

    def render():
        renders.append(1)
        time.sleep(0.1)
        return b"{}"

    document = RenderedDocument(render, content_type="application/json", cache_control="public")
    with ThreadPoolExecutor(8) as pool:
        bodies = set(pool.map(lambda _: document(RequestFactory().get("/")).content, range(16)))

    assert (len(renders), bodies) == (1, {b"{}"})


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/api/schema", "/api/v1/blueprint/schema"])
def test_schemas_are_compressed_and_answered_with_304(path):
    plain = Client().get(path)
    responses = {coding: Client().get(path, headers={"Accept-Encoding": coding}) for coding in ("gzip", "br")}

    assert json.loads(plain.content)
    assert gzip.decompress(responses["gzip"].content) == plain.content
    assert brotli.decompress(responses["br"].content) == plain.content
    assert all("Accept-Encoding" in response["Vary"] for response in (plain, *responses.values()))
    assert len({response["ETag"] for response in (plain, *responses.values())}) == 3
    unchanged = Client().get(path, headers={"If-None-Match": plain["ETag"]})
    assert (unchanged.status_code, unchanged.content) == (304, b"")
