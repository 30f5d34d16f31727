"""Paths of posts, and pages that list posts. `test_posts.py` has the posts themselves."""

import pytest
from django.test import Client

from core.errors import Invalid
from sites.blueprint.schema import MAX_POST_LISTS_PER_PAGE, validate_blueprint
from sites.serving.post_pages import PostRoute, parse_post_path, post_path, strip_invalid_xml
from sites.tests.factories import document, page
from sites.tests.test_posts import PAST, write

pytestmark = pytest.mark.django_db


@pytest.fixture
def live(team):
    """A team whose site is published."""
    assert team.editor.post(team.path("publish")).status_code == 201
    return team


def posts_blocks(count):
    return [{"id": f"p{number}", "type": "posts", "v": 1, "props": {}} for number in range(count)]


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


@pytest.mark.commits
def test_latest_posts_reads_equal_lists_of_a_page_once(live, visitor, django_assert_max_num_queries):
    with pytest.raises(Invalid, match="not valid"):
        validate_blueprint(document(page(blocks=posts_blocks(MAX_POST_LISTS_PER_PAGE + 1))))
    assert live.editor.post(live.path("posts"), {"title": "x", "blocks": posts_blocks(11)}).status_code == 400
    live.author.put(
        live.path("blueprint"), document(page(blocks=posts_blocks(MAX_POST_LISTS_PER_PAGE))), if_match="*"
    )
    live.editor.post(live.path("publish"))
    write(live, published_at=PAST)
    visitor.ask("/robots.txt", live.host)

    with django_assert_max_num_queries(6):
        assert visitor.ask("/", live.host)[2].count(b"A post") == MAX_POST_LISTS_PER_PAGE


def test_parse_post_path_refuses_a_tag_that_is_longer_than_the_column(live, visitor):
    write(live, tags=["x" * 40], published_at=PAST)

    assert visitor.ask("/blog/tag/" + "x" * 40, live.host)[0] == 200
    assert visitor.ask("/blog/tag/" + "x" * 40 + "BUY", live.host)[0] == 404
    assert live.editor.get(live.path("posts?tag=" + "x" * 41)).status_code == 400
    assert Client().get(f"/api/v1/public/sites/{live.host}/posts?tag=" + "x" * 41).status_code == 400


@pytest.mark.parametrize("path", ["/blog/\x00", "/blog/tag/\x00", "/blog/tag/a\x00"])
def test_parse_post_path_finds_nothing_at_a_path_with_nul(live, visitor, path):
    assert visitor.ask(path, live.host)[0] == 404
