"""Published sites by host name: what a visitor, a crawler and a stranger get."""

import gzip
import re
import time
from xml.etree import ElementTree

import brotli
import pytest
from django.utils import timezone

from accounts.services import users
from audit.actors import SYSTEM
from conftest import sign_in
from core import tenancy
from core.http.preconditions import ANY_VERSION
from sites.models import Draft
from sites.services import publishing
from sites.serving import host_routing
from sites.serving.page_cache import SAFE, PageCache
from sites.serving.site_server import encoding, host_name
from sites.serving.template_pictures import shipped_files
from sites.tests.factories import SiteFactory, document, page
from sites.tests.visitor import Visitor, publish

pytestmark = pytest.mark.django_db


def test_a_page_comes_with_its_validator_policy_and_no_cookie(visitor):
    _, host = publish()

    status, headers, body = visitor.ask("/", host)

    assert (status, headers["Content-Type"], headers["Cache-Control"]) == (
        200,
        "text/html; charset=utf-8",
        "public, max-age=0",
    )
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert re.search(r"script-src 'sha256-[\w+/=]{44}';", headers["Content-Security-Policy"])
    assert (headers["X-Content-Type-Options"], "Set-Cookie" in headers, headers["Vary"]) == (
        "nosniff",
        False,
        "Accept-Encoding",
    )
    assert b"Welcome to home" in body


def test_a_page_read_again_costs_no_query(visitor, django_assert_num_queries):
    _, host = publish()
    visitor.ask("/", host)

    with django_assert_num_queries(0):
        for path in ("/", "/", "/"):
            assert visitor.ask(path, host)[0] == 200


@pytest.mark.commits
def test_a_second_process_takes_the_page_from_redis_after_one_query(django_assert_num_queries):
    _, host = publish()
    first = Visitor().ask("/", host)

    with django_assert_num_queries(4):  # BEGIN, the context, the route, COMMIT
        assert Visitor().ask("/", host) == first


@pytest.mark.commits
def test_an_unknown_host_is_404_with_at_most_one_query(visitor, django_assert_num_queries):
    with django_assert_num_queries(4):  # BEGIN, the context, the route, COMMIT
        assert visitor.ask("/", "nobody.localhost")[0] == 404
    with django_assert_num_queries(0):
        for host in (
            "nobody.localhost",
            "evil.example",
            "a.b.localhost",
            "xn--.localhost",
            "",
            "127.0.0.2",
            "localhost.evil.example",
        ):
            assert visitor.ask("/", host)[0] == 404


def test_drafts_hidden_and_unpublished_sites_are_404(visitor):
    draft = SiteFactory()
    site, host = publish()
    assert (visitor.ask("/", f"{draft.subdomain}.localhost")[0], visitor.ask("/", host)[0]) == (404, 200)

    with tenancy.context(tenancy.SYSTEM):
        publishing.unpublish_site(site, actor=SYSTEM)

    assert Visitor().ask("/", host)[0] == 404


@pytest.mark.parametrize(
    ("accepted", "chosen"),
    [
        ("br", "br"),
        ("gzip", "gzip"),
        ("gzip, br", "br"),
        ("br;q=0, gzip", "gzip"),
        ("gzip;q=0", "identity"),
        ("", "identity"),
        ("*", "identity"),
        ("GZIP", "gzip"),
        ("br;q=x", "identity"),
        ("zstd, gzip;q=0.5", "gzip"),
    ],
)
def test_the_encoding_is_one_that_the_visitor_accepts(accepted, chosen):
    assert encoding(accepted) == chosen


def test_every_encoding_is_the_same_page_under_its_own_etag(visitor):
    _, host = publish()
    plain, zipped, brotlied = (visitor.ask("/", host, accept_encoding=name) for name in ("", "gzip", "br"))

    assert plain[2] == gzip.decompress(zipped[2]) == brotli.decompress(brotlied[2])
    assert len({answer[1]["ETag"] for answer in (plain, zipped, brotlied)}) == 3
    assert [answer[1].get("Content-Encoding") for answer in (plain, zipped, brotlied)] == [None, "gzip", "br"]
    assert [int(answer[1]["Content-Length"]) for answer in (plain, zipped, brotlied)] == [
        len(answer[2]) for answer in (plain, zipped, brotlied)
    ]


def test_a_visitor_who_has_the_page_gets_304_and_head_gets_no_body(visitor):
    _, host = publish()
    _, headers, body = visitor.ask("/", host)

    same = visitor.ask("/", host, if_none_match=f'"x", {headers["ETag"]}')
    changed = visitor.ask("/", host, if_none_match='"x"')
    head = visitor.ask("/", host, method="HEAD")

    assert (same[0], same[1]["ETag"], same[2], "Content-Length" in same[1]) == (
        304,
        headers["ETag"],
        b"",
        False,
    )
    assert (changed[0], changed[2]) == (200, body)
    assert (head[0], head[1], head[2]) == (200, headers, b"")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "FOO"])
def test_other_methods_are_refused(visitor, method):
    _, host = publish()

    status, headers, _ = visitor.ask("/", host, method=method)

    assert (status, headers["Allow"]) == (405, "GET, HEAD")


def test_a_missing_page_is_the_sites_own_404_kept_once_for_all_addresses(visitor, django_assert_num_queries):
    _, host = publish()
    status, headers, body = visitor.ask("/nothing", host)

    assert (status, headers["Cache-Control"], b"Page not found" in body, b"A site" in body) == (
        404,
        "no-store",
        True,
        True,
    )
    with django_assert_num_queries(0):
        for path in ("/other", "/a" * 2000, "/%00", "/../etc/passwd", "/é"):
            assert visitor.ask(path, host) == (404, headers, body)


def test_an_address_with_a_slash_leads_to_the_one_without(visitor):
    _, host = publish(document(page("/"), page("/about")))

    assert visitor.ask("/about/", host)[1]["Location"] == "/about"
    assert [
        visitor.ask(path, host)[0] for path in ("/about/", "/about", "//evil.example/", "/about//x/")
    ] == [
        301,
        200,
        404,
        404,
    ]


def test_sitemap_lists_what_may_be_indexed_and_robots_keep_crawlers_out_of_development(visitor, settings):
    _, host = publish(document(page("/"), page("/about"), page("/secret", seo={"noindex": True})))

    status, headers, body = visitor.ask("/sitemap.xml", host)
    addresses = re.findall(r"<loc>(.*?)</loc>", body.decode())
    assert (status, headers["Content-Type"]) == (200, "application/xml; charset=utf-8")
    assert addresses == [f"http://{host}:8000/", f"http://{host}:8000/about"]
    assert visitor.ask("/robots.txt", host)[2] == b"User-agent: *\nDisallow: /\n"

    settings.DEVELOPMENT = False
    _, live = publish()
    assert Visitor().ask("/robots.txt", live)[2].decode().splitlines() == [
        "User-agent: *",
        "Disallow: /_/",
        "",
        f"Sitemap: http://{live}:8000/sitemap.xml",
    ]


def test_pictures_of_a_page_are_there_for_ever_and_nothing_else_is(visitor):
    with tenancy.context(tenancy.SYSTEM):
        _, host = publish()
        api = sign_in(SiteFactory().owner)
    pk = api.post("sites", {"name": "B", "subdomain": "pictured", "template": "bakery"}).json()["id"]
    api.post(f"sites/{pk}/publish")
    body = visitor.ask("/", "pictured.localhost")[2].decode()
    pictures = set(re.findall(r"/_/a/[^\s\"]+", body))

    answers = [visitor.ask(path, host) for path in pictures]
    assert len(pictures) >= 3
    assert {
        (status, headers["Content-Type"], headers["Cache-Control"]) for status, headers, _ in answers
    } == {(200, "image/webp", "public, max-age=31536000, immutable")}
    assert all(body[:4] == b"RIFF" for _, _, body in answers)
    for path in ("/_/a/../pages.py", "/_/a/bakery/hero-960.webp", "/_/a/", "/_/x", "/_/a/%2e%2e/x"):
        assert visitor.ask(path, host)[0] == 404


def test_moving_a_site_moves_its_pages(visitor):
    site, host = publish()
    visitor.ask("/", host)

    api = sign_in(site.owner)
    assert api.patch(f"sites/{site.pk}", {"subdomain": "moved-here"}, if_match=2).status_code == 200

    fresh = Visitor()
    assert (fresh.ask("/", host)[0], fresh.ask("/", "moved-here.localhost")[0]) == (404, 200)
    assert b'href="http://moved-here.localhost:8000/"' in fresh.ask("/", "moved-here.localhost")[2]


def test_editing_the_draft_changes_nothing_for_visitors(visitor):
    site, host = publish()
    before = visitor.ask("/", host)

    api = sign_in(site.owner)
    api.put(f"sites/{site.pk}/blueprint", document(page("/", title="Changed")), if_match=1)

    with tenancy.context(tenancy.SYSTEM):
        assert Draft.objects.get(site=site).version == 2
    assert Visitor().ask("/", host) == before


def test_the_memory_for_pages_is_bounded(visitor):
    _, host = publish(document(*(page(f"/p{number}") for number in range(12))))
    visitor.edge.pages = pages = PageCache(limit=300_000)

    for number in range(12):
        assert visitor.ask(f"/p{number}", host)[0] == 200

    assert 1 < len(pages._pages) < 12
    assert 0 < pages._pages.size <= 300_000
    assert visitor.ask("/p0", host)[0] == 200


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("A.Localhost:8000", "a.localhost"),
        ("a.localhost.", "a.localhost"),
        ("[::1]:80", "[::1]"),
        ("[::1]", "[::1]"),
        ("a:b", ""),
        ("é.x", ""),
        ("a" * 300, ""),
    ],
)
def test_host_names_are_read_in_one_way(header, name):
    assert host_name(header) == name


def test_a_locale_that_reads_from_right_to_left_turns_the_page(visitor):
    _, host = publish(document(settings={"title": "موقع", "locale": "ar"}))

    assert re.search(rb'<html lang="ar" dir="rtl"', visitor.ask("/", host)[2])


def close_account(site):
    users.delete_user(site.owner_id, actor=SYSTEM, now=timezone.now(), if_match=ANY_VERSION)


def follow(visitor, host):
    """Ask until the process reads the stream from where it stands."""
    assert visitor.ask("/", host)[0] == 200
    time.sleep(host_routing.READ_SECONDS + 0.05)
    assert visitor.ask("/", host)[0] == 200


@pytest.mark.parametrize("path", ["/", "/nothing", "/robots.txt", "/_/x", "/_/a/bakery"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_every_answer_of_a_site_carries_the_safe_headers_and_a_policy(visitor, path, method):
    _, host = publish()

    _, headers, _ = visitor.ask(path, host, method=method)

    assert {name: headers.get(name) for name, _ in SAFE} == dict(SAFE)
    assert "default-src 'none'" in headers["Content-Security-Policy"]


def test_pictures_may_run_nothing(visitor):
    _, host = publish()

    _, headers, _ = visitor.ask(next(iter(shipped_files())), host)

    assert headers["Content-Security-Policy"] == "default-src 'none'; sandbox"
    assert {name: headers.get(name) for name, _ in SAFE} == dict(SAFE)


def test_a_missing_page_is_sent_whole_to_who_has_it(visitor):
    _, host = publish()
    first = visitor.ask("/nothing", host)

    assert visitor.ask("/nothing", host, if_none_match=first[1]["ETag"]) == first


def test_a_site_that_wants_no_index_keeps_crawlers_out(visitor, settings):
    settings.DEVELOPMENT = False
    _, host = publish(document(settings={"title": "x", "seo": {"noindex": True}}))

    assert visitor.ask("/robots.txt", host)[2] == b"User-agent: *\nDisallow: /\n"
    assert b"<loc>" not in visitor.ask("/sitemap.xml", host)[2]


def test_an_icon_is_valid_xml_whatever_the_title_starts_with(visitor):
    _, host = publish(document(settings={"title": "<Tag & Co"}))

    assert ElementTree.fromstring(visitor.ask("/favicon.svg", host)[2])[1].text == "<"
