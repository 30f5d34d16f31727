"""Published sites by host name: statuses, headers and redirects."""

import re

import pytest

from audit.actors import SYSTEM
from conftest import sign_in
from core import tenancy
from core.http.rendered_documents import choose_encoding
from sites.models import Draft
from sites.services import publishing
from sites.serving.page_cache import SITE_SECURITY_HEADERS
from sites.serving.site_server import parse_host_header
from sites.serving.template_pictures import shipped_files
from sites.tests.factories import SiteFactory, document, page
from sites.tests.visitor import Visitor, publish

pytestmark = pytest.mark.django_db


def test_site_server_sends_a_page_with_etag_and_policy_and_no_cookie(visitor):
    _, host = publish()

    status, headers, body = visitor.request("/", host)

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


@pytest.mark.commits
def test_site_server_answers_404_for_an_unknown_host_with_at_most_one_query(
    visitor, django_assert_num_queries
):
    with django_assert_num_queries(4):  # BEGIN, the context, the route, COMMIT
        assert visitor.request("/", "nobody.localhost")[0] == 404
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
            assert visitor.request("/", host)[0] == 404


def test_site_server_answers_404_for_draft_and_unpublished_sites(visitor):
    draft = SiteFactory()
    site, host = publish()
    assert (visitor.request("/", f"{draft.subdomain}.localhost")[0], visitor.request("/", host)[0]) == (
        404,
        200,
    )

    with tenancy.context(tenancy.SYSTEM):
        publishing.unpublish_site(site, actor=SYSTEM)

    assert Visitor().request("/", host)[0] == 404


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
def test_choose_encoding_returns_an_accepted_encoding(accepted, chosen):
    assert choose_encoding(accepted) == chosen


def test_site_server_answers_304_to_if_none_match_and_no_body_to_head(visitor):
    _, host = publish()
    _, headers, body = visitor.request("/", host)

    same = visitor.request("/", host, if_none_match=f'"x", {headers["ETag"]}')
    changed = visitor.request("/", host, if_none_match='"x"')
    head = visitor.request("/", host, method="HEAD")

    assert (same[0], same[1]["ETag"], same[2], "Content-Length" in same[1]) == (
        304,
        headers["ETag"],
        b"",
        False,
    )
    assert (changed[0], changed[2]) == (200, body)
    assert (head[0], head[1], head[2]) == (200, headers, b"")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "FOO"])
def test_site_server_answers_405_to_other_methods(visitor, method):
    _, host = publish()

    status, headers, _ = visitor.request("/", host, method=method)

    assert (status, headers["Allow"]) == (405, "GET, HEAD")


def test_site_server_caches_one_not_found_page_for_all_paths(visitor, django_assert_num_queries):
    _, host = publish()
    status, headers, body = visitor.request("/nothing", host)

    assert (status, headers["Cache-Control"], b"Page not found" in body, b"A site" in body) == (
        404,
        "no-store",
        True,
        True,
    )
    with django_assert_num_queries(0):
        for path in ("/other", "/a" * 2000, "/%00", "/../etc/passwd", "/é"):
            assert visitor.request(path, host) == (404, headers, body)


def test_site_server_redirects_a_path_with_a_trailing_slash(visitor):
    _, host = publish(document(page("/"), page("/about")))

    assert visitor.request("/about/", host)[1]["Location"] == "/about"
    assert [
        visitor.request(path, host)[0] for path in ("/about/", "/about", "//evil.example/", "/about//x/")
    ] == [
        301,
        200,
        404,
        404,
    ]


@pytest.mark.parametrize("path", ["/about/", "/blog/"])
def test_redirects_keep_the_query_byte_for_byte(visitor, path):
    _, host = publish(document(page("/"), page("/about")))
    query = "utm_source=letter&utm_medium=e%2Dmail&x=%C3%A9+?/"

    assert visitor.request(f"{path}?{query}", host)[1]["Location"] == f"{path.rstrip('/')}?{query}"


def test_serve_picture_answers_with_immutable_pictures_of_templates_only(visitor):
    with tenancy.context(tenancy.SYSTEM):
        _, host = publish()
        api = sign_in(SiteFactory().owner)
    pk = api.post("sites", {"name": "B", "subdomain": "pictured", "template": "bakery"}).json()["id"]
    api.post(f"sites/{pk}/publish")
    body = visitor.request("/", "pictured.localhost")[2].decode()
    pictures = set(re.findall(r"/_/a/[^\s\"]+", body))

    answers = [visitor.request(path, host) for path in pictures]
    assert len(pictures) >= 3
    assert {
        (status, headers["Content-Type"], headers["Cache-Control"]) for status, headers, _ in answers
    } == {(200, "image/webp", "public, max-age=31536000, immutable")}
    assert all(body[:4] == b"RIFF" for _, _, body in answers)
    for path in ("/_/a/../pages.py", "/_/a/bakery/hero-960.webp", "/_/a/", "/_/x", "/_/a/%2e%2e/x"):
        assert visitor.request(path, host)[0] == 404


def test_site_server_serves_a_site_on_its_new_subdomain_only(visitor):
    site, host = publish()
    visitor.request("/", host)

    api = sign_in(site.owner)
    assert api.patch(f"sites/{site.pk}", {"subdomain": "moved-here"}, if_match=2).status_code == 200

    fresh = Visitor()
    assert (fresh.request("/", host)[0], fresh.request("/", "moved-here.localhost")[0]) == (404, 200)
    assert b'href="http://moved-here.localhost:8000/"' in fresh.request("/", "moved-here.localhost")[2]


def test_site_server_does_not_show_changes_of_the_draft(visitor):
    site, host = publish()
    before = visitor.request("/", host)

    api = sign_in(site.owner)
    api.put(f"sites/{site.pk}/blueprint", document(page("/", title="Changed")), if_match=1)

    with tenancy.context(tenancy.SYSTEM):
        assert Draft.objects.get(site=site).version == 2
    assert Visitor().request("/", host) == before


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
def test_parse_host_header_normalises_the_host_name(header, name):
    assert parse_host_header(header) == name


@pytest.mark.parametrize("path", ["/", "/nothing", "/robots.txt", "/_/x", "/_/a/bakery"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_site_server_sends_security_headers_with_every_answer(visitor, path, method):
    _, host = publish()

    _, headers, _ = visitor.request(path, host, method=method)

    assert {name: headers.get(name) for name, _ in SITE_SECURITY_HEADERS} == dict(SITE_SECURITY_HEADERS)
    assert "default-src 'none'" in headers["Content-Security-Policy"]


def test_serve_picture_sends_a_sandbox_policy(visitor):
    _, host = publish()

    _, headers, _ = visitor.request(next(iter(shipped_files())), host)

    assert headers["Content-Security-Policy"] == "default-src 'none'; sandbox"
    assert {name: headers.get(name) for name, _ in SITE_SECURITY_HEADERS} == dict(SITE_SECURITY_HEADERS)


def test_site_server_never_answers_304_for_a_not_found_page(visitor):
    _, host = publish()
    first = visitor.request("/nothing", host)

    assert visitor.request("/nothing", host, if_none_match=first[1]["ETag"]) == first
