"""Pages of published posts: the list, a post, a tag, the feed, and blocks that list posts."""

import xml.etree.ElementTree as ET
from datetime import timedelta
from html import unescape

import pytest
from django.test import Client
from django.utils import timezone

from core import tenancy
from core.errors import Invalid
from sites.blueprint import schema
from sites.models import FormerSlug
from sites.serving.post_pages import PostRoute, parse_post_path, post_path, strip_invalid_xml
from sites.tests.api_calls import PAST, create_post, patch_post
from sites.tests.factories import document, heading_block, page
from sites.tests.visitor import publish

pytestmark = pytest.mark.django_db
ATOM = "{http://www.w3.org/2005/Atom}"


def test_post_pages_show_list_post_tag_and_feed(live_team, visitor):
    create_post(
        live_team,
        slug="first",
        title="First <b>one</b>",
        excerpt="All about it",
        tags=["bread & butter"],
        published_at=PAST,
        blocks=[heading_block("b1", "Inside")],
    )
    create_post(live_team, title="Second", published_at="2026-02-01T00:00:00Z")
    create_post(live_team, title="Only a draft")

    status, headers, body = visitor.request("/blog", live_team.host)
    html = body.decode()
    assert (status, "First &lt;b&gt;one&lt;/b&gt;" in html) == (200, True)
    assert html.index("Second") < html.index("First")
    assert "January 2, 2026" in html
    assert "Only a draft" not in html
    assert visitor.request("/blog", live_team.host, if_none_match=headers["ETag"])[0] == 304

    article = visitor.request("/blog/first", live_team.host)[2].decode()
    assert "<h1>First &lt;b&gt;one&lt;/b&gt;</h1>" in article
    assert "Inside" in article
    assert "The editor" in article
    assert 'href="/blog/tag/bread%20%26%20butter"' in article
    assert 'href="/blog/second"' in article
    assert '<meta property="og:type" content="article">' in article
    tagged = visitor.request("/blog/tag/bread & butter", live_team.host)
    assert (tagged[0], "First" in tagged[2].decode(), "Second" in tagged[2].decode()) == (200, True, False)

    _, headers, feed = visitor.request("/blog/feed.xml", live_team.host)
    assert headers["Content-Type"] == "application/atom+xml; charset=utf-8"
    atom = "{http://www.w3.org/2005/Atom}"
    entries = ET.fromstring(feed).findall(f"{atom}entry")
    assert [entry.find(f"{atom}title").text for entry in entries] == ["Second", "First <b>one</b>"]
    assert entries[1].find(f"{atom}link").get("href") == f"http://{live_team.host}:8000/blog/first"
    assert entries[1].find(f"{atom}published").text == "2026-01-02T03:04:05+00:00"
    sitemap = visitor.request("/sitemap.xml", live_team.host)[2].decode()
    assert f"http://{live_team.host}:8000/blog/second</loc>" in sitemap
    assert f"http://{live_team.host}:8000/blog</loc>" in sitemap


@pytest.mark.parametrize(
    "path",
    [
        "/blog/nowhere",
        "/blog/page/2",
        "/blog/page/1",
        "/blog/page/02",
        "/blog/page/99999999999",
        "/blog/tag/none",
        "/blog/tag/",
        "/blog/tag/a/b",
        "/blog/a/b/c",
        "/blog/" + "a" * 5000,
        "/blog/\xff",
        "/blog/tag/\xc3",
        "/blogger",
        "/blog/feed.xml/x",
    ],
)
def test_post_pages_answer_404_for_unknown_paths(live_team, visitor, path):
    status, _, body = visitor.request(path, live_team.host)

    if path.endswith("/"):
        assert status == 301
    else:
        assert (status, b"Page not found" in body) == (404, True)


@pytest.mark.commits
def test_post_pages_do_not_cache_unknown_paths(live_team, visitor, django_assert_num_queries):
    visitor.request("/blog/warm-up", live_team.host)
    cached_pages = len(visitor.edge.pages._pages)

    with django_assert_num_queries(
        8
    ):  # begin, context, does the post exist, commit; begin, context, former slug, commit
        visitor.request("/blog/guess", live_team.host)

    assert len(visitor.edge.pages._pages) == cached_pages


def test_post_pages_feed_is_valid_xml_for_any_text(live_team, visitor):
    create_post(
        live_team,
        title="Bell \x07 and \ufffe & <b>",
        excerpt="\x0b\x1f",
        tags=["a\ufffeb"],
        published_at=PAST,
    )

    feed = visitor.request("/blog/feed.xml", live_team.host)[2]

    entry = ET.fromstring(feed).find("{http://www.w3.org/2005/Atom}entry")
    assert entry.find("{http://www.w3.org/2005/Atom}title").text == "Bell   and  & <b>"


@pytest.mark.parametrize("posts_path", ["/blog", "/news"])
def test_the_list_and_the_feed_are_there_before_the_first_post(visitor, posts_path):
    settings = {"title": "A site", "posts": {"path": posts_path}}
    _, host = publish(document(page("/"), settings=settings))

    status, _, body = visitor.request(posts_path, host)
    assert (status, b"There are no posts yet." in body) == (200, True)
    assert f'href="{posts_path}/feed.xml"' in visitor.request("/", host)[2].decode()
    status, _, feed = visitor.request(f"{posts_path}/feed.xml", host)
    root = ET.fromstring(feed)
    assert (status, root.findall(f"{ATOM}entry")) == (200, [])
    assert root.find(f"{ATOM}author/{ATOM}name").text == "A site"


@pytest.mark.parametrize("excerpt", ["Use <em> sparingly & 1 < 2", "&amp;", "plain", ""])
def test_feed_readers_show_the_excerpt_as_it_was_typed(live_team, visitor, excerpt):
    create_post(live_team, excerpt=excerpt, published_at=PAST)

    entry = ET.fromstring(visitor.request("/blog/feed.xml", live_team.host)[2]).find(f"{ATOM}entry")
    summary = entry.find(f"{ATOM}summary")

    if not excerpt:
        assert summary is None
    else:
        assert summary.get("type") == "html"
        assert unescape(summary.text) == excerpt  # an HTML reader shows it so
        assert "<" not in summary.text


def test_post_pages_omit_the_name_of_a_closed_account(live_team, visitor):
    post = create_post(live_team, published_at=PAST)
    assert b"The editor" in visitor.request(f"/blog/{post['slug']}", live_team.host)[2]
    assert live_team.editor.delete("auth/me", if_match="*").status_code == 204
    visitor.edge.routes._routes.clear()

    assert b"The editor" not in visitor.request(f"/blog/{post['slug']}", live_team.host)[2]


def test_post_pages_paginate_the_list(live_team, visitor):
    for number in range(12):
        create_post(live_team, title=f"Post {number:02}", published_at=f"2026-01-{number + 1:02}T00:00:00Z")

    first, second = (visitor.request(path, live_team.host)[2].decode() for path in ("/blog", "/blog/page/2"))

    assert [f"Post {n:02}" in first for n in (11, 2, 1)] == [True, True, False]
    assert [f"Post {n:02}" in second for n in (1, 0, 2)] == [True, True, False]
    assert 'href="/blog/page/2"' in first
    assert 'href="/blog"' in second
    assert visitor.request("/blog/page/3", live_team.host)[0] == 404


def test_post_pages_redirect_former_slugs(live_team, visitor):
    post = create_post(live_team, slug="one", published_at=PAST)
    for slug in ("two", "three"):
        patch_post(live_team, post, slug=slug)

    for former_slug in ("one", "two"):
        status, headers, _ = visitor.request(f"/blog/{former_slug}", live_team.host)
        assert (status, headers["Location"]) == (301, "/blog/three")
        _, headers, _ = visitor.request(
            f"/blog/{former_slug}?utm_source=letter&utm_medium=email", live_team.host
        )
        assert headers["Location"] == "/blog/three?utm_source=letter&utm_medium=email"
    patch_post(live_team, post, slug="one")  # the first slug again must not cause a redirect loop
    visitor.edge.routes._routes.clear()
    assert visitor.request("/blog/one", live_team.host)[0] == 200
    assert visitor.request("/blog/three", live_team.host)[1]["Location"] == "/blog/one"
    with tenancy.context(tenancy.SYSTEM):  # later, when another post may have the former slug
        FormerSlug.objects.update(released_at=timezone.now() - timedelta(days=31))
    create_post(
        live_team, slug="two", title="New", published_at=PAST
    )  # an existing post wins over a former slug
    visitor.edge.routes._routes.clear()
    assert b"New" in visitor.request("/blog/two", live_team.host)[2]
    patch_post(live_team, post, published_at=None)
    visitor.edge.routes._routes.clear()
    assert visitor.request("/blog/three", live_team.host)[0] == 404


def test_post_pages_use_the_published_path_setting(live_team, visitor):
    create_post(live_team, title="Moved house", published_at=PAST)
    settings = {
        "title": "Site",
        "locale": "de",
        "posts": {"path": "/neues/hier", "title": "Neuigkeiten", "per_page": 1},
    }
    live_team.author.put(
        live_team.path("blueprint"),
        document(page(), page("/neues/hier/seite"), settings=settings),
        if_match="*",
    )
    assert visitor.request("/blog", live_team.host)[0] == 200  # not published yet
    live_team.editor.post(live_team.path("publish"))
    visitor.edge.routes._routes.clear()

    assert visitor.request("/blog", live_team.host)[0] == 404
    listed = visitor.request("/neues/hier", live_team.host)[2].decode()
    assert "<h1>Neuigkeiten</h1>" in listed
    assert "2. Januar 2026" in listed
    assert visitor.request("/neues/hier/moved-house", live_team.host)[0] == 200
    assert b"Welcome to" in visitor.request("/neues/hier/seite", live_team.host)[2]


def test_posts_block_shows_the_newest_posts(live_team, visitor):
    blocks = [
        {
            "id": "p",
            "type": "posts",
            "v": 1,
            "props": {"title": "News", "limit": 1, "tag": "x", "more": "All"},
        }
    ]
    live_team.author.put(live_team.path("blueprint"), document(page(blocks=blocks)), if_match="*")
    live_team.editor.post(live_team.path("publish"))
    visitor.edge.routes._routes.clear()
    assert b"News" not in visitor.request("/", live_team.host)[2]  # a block without posts is not rendered

    create_post(live_team, title="Without the tag", published_at=PAST)
    tagged = create_post(live_team, title="With the tag", tags=["x"], published_at=PAST)
    visitor.edge.routes._routes.clear()
    html = visitor.request("/", live_team.host)[2].decode()
    assert ("With the tag" in html, "Without the tag" in html, 'href="/blog/tag/x"' in html) == (
        True,
        False,
        True,
    )
    patch_post(live_team, tagged, title="Renamed")
    visitor.edge.routes._routes.clear()
    assert b"Renamed" in visitor.request("/", live_team.host)[2]


def test_tag_param_does_not_match_longer_tags(live_team, visitor):
    create_post(live_team, tags=["x" * 40], published_at=PAST)

    assert visitor.request("/blog/tag/" + "x" * 40, live_team.host)[0] == 200
    assert visitor.request("/blog/tag/" + "x" * 40 + "BUY", live_team.host)[0] == 404
    assert live_team.editor.get(live_team.path("posts?tag=" + "x" * 41)).status_code == 400
    assert Client().get(f"/api/v1/public/sites/{live_team.host}/posts?tag=" + "x" * 41).status_code == 400


def lists(count, **props):
    return [{"id": f"p{n}", "type": "posts", "v": 1, "props": props} for n in range(count)]


@pytest.mark.commits
def test_posts_block_is_limited_and_queries_each_list_once(live_team, visitor, django_assert_max_num_queries):
    with pytest.raises(Invalid, match="not valid"):
        schema.validate_blueprint(document(page(blocks=lists(schema.MAX_POST_LISTS_PER_PAGE + 1))))
    assert (
        live_team.editor.post(live_team.path("posts"), {"title": "x", "blocks": lists(11)}).status_code == 400
    )
    live_team.author.put(
        live_team.path("blueprint"),
        document(page(blocks=lists(schema.MAX_POST_LISTS_PER_PAGE))),
        if_match="*",
    )
    live_team.editor.post(live_team.path("publish"))
    create_post(live_team, published_at=PAST)
    visitor.request("/robots.txt", live_team.host)

    with django_assert_max_num_queries(6):
        assert visitor.request("/", live_team.host)[2].count(b"A post") == schema.MAX_POST_LISTS_PER_PAGE


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/blog", PostRoute()),
        ("/blog/page/2", PostRoute(page_number=2)),
        ("/blog/tag/a b", PostRoute(tag="a b")),
        ("/blog/tag/a b/page/12", PostRoute(tag="a b", page_number=12)),
        ("/blog/first", PostRoute(slug="first")),
        ("/blog/feed.xml", PostRoute(is_feed=True)),
        ("/blog/page/1", None),
        ("/blog/page/02", None),
        ("/blog/tag/", None),
        ("/blog/tag/" + "x" * 41, None),
        ("/blog/" + "x" * 101, None),
        ("/blog/first/second", None),
        ("/blogs", None),
        ("/", None),
    ],
)
def test_parse_post_path_returns_the_addressed_post_or_list(path, route):
    assert parse_post_path(path, "/blog") == route


def test_post_path_percent_encodes_tags_and_omits_the_first_page():
    assert post_path("/blog", slug="first") == "/blog/first"
    assert post_path("/blog", tag="a/b c") == "/blog/tag/a%2Fb%20c"
    assert post_path("/blog", tag="x", page_number=2) == "/blog/tag/x/page/2"
    assert post_path("/blog", page_number=1) == "/blog"


def test_strip_invalid_xml_removes_control_characters_only():
    assert strip_invalid_xml("a\x00\x07b\tc\n\ufffe\U0001f600") == "ab\tc\n\U0001f600"


@pytest.mark.parametrize("path", ["/blog/\x00", "/blog/tag/\x00", "/blog/tag/a\x00"])
def test_decode_path_refuses_nul_so_the_path_is_a_404(live_team, visitor, path):
    assert visitor.request(path, live_team.host)[0] == 404
