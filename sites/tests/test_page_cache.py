"""The page cache of a web process, and the files that are generated for every site."""

import gzip
import re
import time
from concurrent.futures import ThreadPoolExecutor
from xml.etree import ElementTree

import brotli
import pytest
from django.db import connections
from django_redis import get_redis_connection

from sites.serving import page_cache, rendering
from sites.serving.page_cache import PageCache
from sites.tests.factories import document, page
from sites.tests.visitor import Visitor, publish

pytestmark = pytest.mark.django_db


def test_page_cache_drops_the_least_recently_used_page_when_full(visitor, monkeypatch):
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
        assert visitor.request("/p0", host)[0] == 200
        assert visitor.request(f"/p{1 + number % 11}", host)[0] == 200

    assert fetched.count("/p0") == 1
    assert len(fetched) > 12, "the cache was never full"
    assert page_cache.NOT_FOUND_PATH not in fetched


def test_page_cache_keeps_at_most_its_limit_in_memory(visitor):
    _, host = publish(document(*(page(f"/p{number}") for number in range(12))))
    visitor.edge.pages = pages = PageCache(limit=300_000)

    for number in range(12):
        assert visitor.request(f"/p{number}", host)[0] == 200

    assert 1 < len(pages._pages) < 12
    assert 0 < pages._pages.size <= 300_000
    assert visitor.request("/p0", host)[0] == 200


@pytest.mark.commits
def test_page_cache_takes_a_page_of_another_process_from_redis(django_assert_num_queries):
    _, host = publish()
    first = Visitor().request("/", host)

    with django_assert_num_queries(4):  # BEGIN, the context, the route, COMMIT
        assert Visitor().request("/", host) == first


def test_page_cache_serves_a_cached_page_without_a_query(visitor, django_assert_num_queries):
    _, host = publish()
    visitor.request("/", host)

    with django_assert_num_queries(0):
        for path in ("/", "/", "/"):
            assert visitor.request(path, host)[0] == 200


def test_sitemap_and_robots_tell_crawlers_what_to_index(visitor, settings):
    _, host = publish(document(page("/"), page("/about"), page("/secret", seo={"noindex": True})))

    status, headers, body = visitor.request("/sitemap.xml", host)
    urls = re.findall(r"<loc>(.*?)</loc>", body.decode())
    assert (status, headers["Content-Type"]) == (200, "application/xml; charset=utf-8")
    assert urls == [f"http://{host}:8000/", f"http://{host}:8000/about"]
    assert visitor.request("/robots.txt", host)[2] == b"User-agent: *\nDisallow: /\n"

    settings.DEVELOPMENT = False
    _, live = publish()
    assert Visitor().request("/robots.txt", live)[2].decode().splitlines() == [
        "User-agent: *",
        "Disallow: /_/",
        "",
        f"Sitemap: http://{live}:8000/sitemap.xml",
    ]


def test_robots_and_sitemap_hide_a_site_with_noindex(visitor, settings):
    settings.DEVELOPMENT = False
    _, host = publish(document(settings={"title": "x", "seo": {"noindex": True}}))

    assert visitor.request("/robots.txt", host)[2] == b"User-agent: *\nDisallow: /\n"
    assert b"<loc>" not in visitor.request("/sitemap.xml", host)[2]


def test_favicon_escapes_the_first_letter_of_the_title(visitor):
    _, host = publish(document(settings={"title": "<Tag & Co"}))

    assert ElementTree.fromstring(visitor.request("/favicon.svg", host)[2])[1].text == "<"


def test_render_page_sets_the_direction_of_a_right_to_left_locale(visitor):
    _, host = publish(document(settings={"title": "موقع", "locale": "ar"}))

    assert re.search(rb'<html lang="ar" dir="rtl"', visitor.request("/", host)[2])


def test_make_page_gives_each_encoding_the_same_content_and_its_own_etag(visitor):
    _, host = publish()
    responses = [visitor.request("/", host, accept_encoding=name) for name in ("", "gzip", "br")]

    headers = [headers for _, headers, _ in responses]
    identity, gzipped, brotlied = (body for _, _, body in responses)
    assert identity == gzip.decompress(gzipped) == brotli.decompress(brotlied)
    assert len({response["ETag"] for response in headers}) == 3
    assert [response.get("Content-Encoding") for response in headers] == [None, "gzip", "br"]
    assert [int(response["Content-Length"]) for response in headers] == [
        len(body) for _, _, body in responses
    ]


def test_page_cache_ignores_pages_of_another_renderer_version(monkeypatch):
    _, host = publish()
    before = Visitor().request("/", host)
    client = get_redis_connection("default")
    for key in client.scan_iter("bytes:*"):
        client.set(key, client.get(key).replace(b"Welcome", b"Outdated"))
    assert b"Outdated" in Visitor().request("/", host)[2]

    monkeypatch.setattr(rendering, "renderer_version", lambda: "another")

    assert Visitor().request("/", host) == before


@pytest.mark.commits
def test_page_cache_renders_a_page_once_for_parallel_requests(visitor, monkeypatch):
    _, host = publish()
    rendered = []
    render = page_cache._render_release
    monkeypatch.setattr(
        page_cache, "_render_release", lambda *args: rendered.append(1) or time.sleep(0.2) or render(*args)
    )

    def get_status(_):
        try:
            return visitor.request("/", host)[0]
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(get_status, range(8))) == {200}
    assert len(rendered) == 1
    assert visitor.edge.pages._pages._creating == {}
