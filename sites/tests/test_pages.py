"""The page cache of one web process: which pages stay in memory when it is full."""

import pytest

from sites.serving import page_cache
from sites.serving.page_cache import PageCache
from sites.tests.factories import document, page
from sites.tests.visitor import publish

pytestmark = pytest.mark.django_db


def test_a_full_page_cache_drops_the_least_recently_used_page(visitor, monkeypatch):
    """100 requests, every second one for the same page: that page is read from its release once."""
    _, host = publish(document(*(page(f"/p{number}") for number in range(12))))
    visitor.edge.pages = PageCache(limit=300_000)  # room for fewer than twelve pages
    fetched = []
    fetch = PageCache._fetch
    monkeypatch.setattr(
        PageCache,
        "_fetch",
        lambda cache, route, release, path: fetched.append(path) or fetch(cache, route, release, path),
    )

    for number in range(50):
        assert visitor.ask("/p0", host)[0] == 200
        assert visitor.ask(f"/p{1 + number % 11}", host)[0] == 200

    assert fetched.count("/p0") == 1
    assert len(fetched) > 12, "the cache was never full"
    assert page_cache.MISSING not in fetched
