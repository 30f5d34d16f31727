"""Posts: written by authors, published by editors, found by visitors at the address they have now."""

import xml.etree.ElementTree as ET
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connections
from django.utils import timezone

from audit.models import Entry
from conftest import sign_in
from core import lifecycle, tenancy
from sites.models import FormerSlug, Post, Site
from sites.services import publishing
from sites.tests.factories import document, page

pytestmark = pytest.mark.django_db
PAST = "2026-01-02T03:04:05Z"


def heading(text, pk="b1"):
    return {"id": pk, "type": "heading", "v": 1, "props": {"text": text}}


def write(team, who="editor", **body):
    answer = team.of(who).post(team.path("posts"), {"title": "A post", **body})
    assert answer.status_code == 201, answer.content
    return answer.json()


def change(team, post, who="editor", version="*", **body):
    return team.of(who).patch(team.path(f"posts/{post['id']}"), body, if_match=version)


@pytest.fixture
def live(team):
    """A published team's site."""
    assert team.editor.post(team.path("publish")).status_code == 201
    return team


def test_a_post_is_written_read_changed_under_its_version_deleted_and_restored(team):
    made = team.author.post(
        team.path("posts"),
        {"title": "Hello, Wörld!", "blocks": [heading("Hi")], "tags": ["a b", "c", "c"], "excerpt": "Short"},
    )
    body = made.json()
    assert (made.status_code, made["ETag"], made["Location"]) == (
        201,
        '"1"',
        f"/api/v1/{team.path('posts')}/{body['id']}",
    )
    assert {name: body[name] for name in ("slug", "tags", "live", "published_at", "author", "version")} == {
        "slug": "hello-world",
        "tags": ["a b", "c"],
        "live": False,
        "published_at": None,
        "author": str(team.author.user.pk),
        "version": 1,
    }
    assert team.viewer.get(made["Location"]).json() == body

    assert change(team, body, version=None, title="x").status_code == 428
    assert change(team, body, version=7, title="x").status_code == 412
    changed = change(team, body, version=1, title="Hello", blocks=[])
    assert (changed.status_code, changed["ETag"], changed.json()["blocks"]) == (200, '"2"', [])

    assert team.editor.delete(made["Location"], if_match=2).status_code == 204
    assert team.viewer.get(made["Location"]).status_code == 404
    listed = team.viewer.get(team.path("posts?state=deleted")).json()["results"]
    assert [row["id"] for row in listed] == [body["id"]]
    restored = team.editor.post(f"{team.path('posts')}/{body['id']}/restore")
    assert (restored.status_code, restored.json()["title"], restored.json()["version"]) == (200, "Hello", 4)
    assert team.editor.post(f"{team.path('posts')}/{body['id']}/restore").status_code == 404


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"title": ""},
        {"title": "x" * 201},
        {"title": "x", "slug": "Not OK"},
        {"title": "x", "slug": "-a"},
        {"title": "x", "slug": "a--b"},
        {"title": "x", "slug": "é"},
        {"title": "x", "slug": "feed.xml"},
        {"title": "x", "tags": "a"},
        {"title": "x", "tags": ["a/b"]},
        {"title": "x", "tags": [".."]},
        {"title": "x", "tags": ["x" * 41]},
        {"title": "x", "tags": [str(n) for n in range(21)]},
        {"title": "x", "blocks": {}},
        {"title": "x", "blocks": [5]},
        {"title": "x", "blocks": [{"type": "evil"}]},
        {"title": "x", "published_at": "soon"},
        {"title": "x", "published_at": "0001-01-01T00:00:00+14:00"},
        {"title": "x", "published_at": "9999-12-31T23:59:59-14:00"},
        {"title": "x", "author": "me"},
        {"title": "x", "live": True},
        {"title": "x", "excerpt": "x" * 501},
    ],
)
def test_a_post_of_the_wrong_shape_is_refused(team, body):
    answer = team.editor.post(team.path("posts"), body)

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid")


def test_blocks_of_a_post_are_checked_as_those_of_a_page_with_pointers(team):
    blocks = [
        heading("a"),
        heading("b"),
        {
            "id": "c",
            "type": "button",
            "v": 1,
            "props": {"actions": [{"label": "x", "link": {"page": "nowhere"}}]},
        },
    ]

    errors = team.editor.post(team.path("posts"), {"title": "x", "blocks": blocks}).json()["errors"]

    assert [(error["pointer"], error["code"]) for error in errors] == [
        ("/blocks/1/id", "duplicate_id"),
        ("/blocks/2/props/actions/0/link/page", "unknown_page"),
    ]
    wrong = team.editor.post(team.path("posts"), {"title": "x", "blocks": [heading(5)]}).json()["errors"]
    assert wrong[0]["pointer"] == "/blocks/0/props/text"


def test_a_slug_is_one_posts_even_when_that_is_deleted(team):
    first = write(team, title="Same")
    second = write(team, title="Same")
    assert (first["slug"], second["slug"], write(team, title="日本")["slug"]) == ("same", "same-2", "post")
    assert team.editor.post(team.path("posts"), {"title": "x", "slug": "same"}).json()["code"] == "slug_taken"
    assert change(team, second, slug="same").json()["code"] == "slug_taken"
    team.editor.delete(team.path(f"posts/{first['id']}"), if_match="*")
    assert team.editor.post(team.path("posts"), {"title": "x", "slug": "same"}).status_code == 409


def test_authors_write_their_own_and_editors_publish(team):
    refused = team.author.post(team.path("posts"), {"title": "x", "published_at": PAST})
    assert (refused.status_code, refused.json()["code"]) == (403, "site_role_too_low")
    own = write(team, who="author")
    others = write(team, title="Other")
    assert change(team, own, who="author", title="Mine").status_code == 200
    assert change(team, own, who="author", published_at=PAST).status_code == 403
    assert change(team, own, who="author", author=str(team.editor.user.pk)).status_code == 403
    assert change(team, others, who="author", title="Taken").status_code == 403
    assert team.author.delete(team.path(f"posts/{others['id']}"), if_match="*").status_code == 403
    assert change(team, own, published_at=PAST).status_code == 200
    assert change(team, own, who="author", title="Again").status_code == 403  # it is published now
    assert team.author.delete(team.path(f"posts/{own['id']}"), if_match="*").status_code == 403
    assert team.viewer.post(team.path("posts"), {"title": "x"}).status_code == 403


def test_the_author_of_a_post_is_somebody_who_writes_here(team):
    post = write(team)

    assert change(team, post, author=str(team.author.user.pk)).json()["author"] == str(team.author.user.pk)
    for nobody in (team.viewer, team.stranger):
        answer = change(team, post, author=str(nobody.user.pk))
        assert answer.json()["errors"][0]["pointer"] == "/author"
    assert change(team, post, author=None).json()["author"] is None


def test_visitors_find_the_list_the_post_the_tag_and_the_feed(live, visitor):
    write(
        live,
        slug="first",
        title="First <b>one</b>",
        excerpt="All about it",
        tags=["bread & butter"],
        published_at=PAST,
        blocks=[heading("Inside")],
    )
    write(live, title="Second", published_at="2026-02-01T00:00:00Z")
    write(live, title="Only a draft")

    status, headers, body = visitor.ask("/blog", live.host)
    html = body.decode()
    assert (status, "First &lt;b&gt;one&lt;/b&gt;" in html) == (200, True)
    assert html.index("Second") < html.index("First")
    assert "January 2, 2026" in html
    assert "Only a draft" not in html
    assert visitor.ask("/blog", live.host, if_none_match=headers["ETag"])[0] == 304

    article = visitor.ask("/blog/first", live.host)[2].decode()
    assert "<h1>First &lt;b&gt;one&lt;/b&gt;</h1>" in article
    assert "Inside" in article
    assert "The editor" in article
    assert 'href="/blog/tag/bread%20%26%20butter"' in article
    assert 'href="/blog/second"' in article
    assert '<meta property="og:type" content="article">' in article
    tagged = visitor.ask("/blog/tag/bread & butter", live.host)
    assert (tagged[0], "First" in tagged[2].decode(), "Second" in tagged[2].decode()) == (200, True, False)

    _, headers, feed = visitor.ask("/blog/feed.xml", live.host)
    assert headers["Content-Type"] == "application/atom+xml; charset=utf-8"
    atom = "{http://www.w3.org/2005/Atom}"
    entries = ET.fromstring(feed).findall(f"{atom}entry")
    assert [entry.find(f"{atom}title").text for entry in entries] == ["Second", "First <b>one</b>"]
    assert entries[1].find(f"{atom}link").get("href") == f"http://{live.host}:8000/blog/first"
    assert entries[1].find(f"{atom}published").text == "2026-01-02T03:04:05+00:00"
    sitemap = visitor.ask("/sitemap.xml", live.host)[2].decode()
    assert f"http://{live.host}:8000/blog/second</loc>" in sitemap
    assert f"http://{live.host}:8000/blog</loc>" in sitemap


@pytest.mark.parametrize(
    "path",
    [
        "/blog",
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
def test_what_is_no_page_of_posts_is_the_sites_404(live, visitor, path):
    status, _, body = visitor.ask(path, live.host)

    if path.endswith("/"):
        assert status == 301
    else:
        assert (status, b"Page not found" in body) == (404, True)


@pytest.mark.commits
def test_strangers_who_guess_addresses_make_no_page_and_read_no_blueprint(
    live, visitor, django_assert_num_queries
):
    visitor.ask("/blog/warm-up", live.host)
    kept = len(visitor.edge.pages._pages)

    with django_assert_num_queries(
        8
    ):  # begin, context, is it there, commit; begin, context, has it moved, commit
        visitor.ask("/blog/guess", live.host)

    assert len(visitor.edge.pages._pages) == kept


def test_a_feed_holds_whatever_people_write(live, visitor):
    write(live, title="Bell \x07 and \ufffe & <b>", excerpt="\x0b\x1f", tags=["a\ufffeb"], published_at=PAST)

    feed = visitor.ask("/blog/feed.xml", live.host)[2]

    entry = ET.fromstring(feed).find("{http://www.w3.org/2005/Atom}entry")
    assert entry.find("{http://www.w3.org/2005/Atom}title").text == "Bell  and  & <b>"


def test_whoever_closes_an_account_is_named_no_more(live, visitor):
    post = write(live, published_at=PAST)
    assert b"The editor" in visitor.ask(f"/blog/{post['slug']}", live.host)[2]
    assert live.editor.delete("auth/me", if_match="*").status_code == 204
    visitor.edge.routes._routes.clear()

    assert b"The editor" not in visitor.ask(f"/blog/{post['slug']}", live.host)[2]


def test_a_long_list_has_pages(live, visitor):
    for number in range(12):
        write(live, title=f"Post {number:02}", published_at=f"2026-01-{number + 1:02}T00:00:00Z")

    first, second = (visitor.ask(path, live.host)[2].decode() for path in ("/blog", "/blog/page/2"))

    assert [f"Post {n:02}" in first for n in (11, 2, 1)] == [True, True, False]
    assert [f"Post {n:02}" in second for n in (1, 0, 2)] == [True, True, False]
    assert 'href="/blog/page/2"' in first
    assert 'href="/blog"' in second
    assert visitor.ask("/blog/page/3", live.host)[0] == 404


def test_who_knows_an_old_slug_is_sent_on_wherever_the_post_goes(live, visitor):
    post = write(live, slug="one", published_at=PAST)
    for slug in ("two", "three"):
        change(live, post, slug=slug)

    for old in ("one", "two"):
        status, headers, _ = visitor.ask(f"/blog/{old}", live.host)
        assert (status, headers["Location"]) == (301, "/blog/three")
    change(live, post, slug="one")  # and back: no loop
    visitor.edge.routes._routes.clear()
    assert visitor.ask("/blog/one", live.host)[0] == 200
    assert visitor.ask("/blog/three", live.host)[1]["Location"] == "/blog/one"
    write(live, slug="two", title="New", published_at=PAST)  # a post comes before a memory of one
    visitor.edge.routes._routes.clear()
    assert b"New" in visitor.ask("/blog/two", live.host)[2]
    change(live, post, published_at=None)
    visitor.edge.routes._routes.clear()
    assert visitor.ask("/blog/three", live.host)[0] == 404


def test_posts_live_where_the_published_settings_say_and_a_page_comes_first(live, visitor):
    write(live, title="Moved house", published_at=PAST)
    settings = {
        "title": "Site",
        "locale": "de",
        "posts": {"path": "/neues/hier", "title": "Neuigkeiten", "per_page": 1},
    }
    live.author.put(
        live.path("blueprint"), document(page(), page("/neues/hier/seite"), settings=settings), if_match="*"
    )
    assert visitor.ask("/blog", live.host)[0] == 200  # not published yet
    live.editor.post(live.path("publish"))
    visitor.edge.routes._routes.clear()

    assert visitor.ask("/blog", live.host)[0] == 404
    listed = visitor.ask("/neues/hier", live.host)[2].decode()
    assert "<h1>Neuigkeiten</h1>" in listed
    assert "2. Januar 2026" in listed
    assert visitor.ask("/neues/hier/moved-house", live.host)[0] == 200
    assert b"Welcome to" in visitor.ask("/neues/hier/seite", live.host)[2]


def test_a_block_shows_the_newest_posts_and_follows_them(live, visitor):
    blocks = [
        {
            "id": "p",
            "type": "posts",
            "v": 1,
            "props": {"title": "News", "limit": 1, "tag": "x", "more": "All"},
        }
    ]
    live.author.put(live.path("blueprint"), document(page(blocks=blocks)), if_match="*")
    live.editor.post(live.path("publish"))
    visitor.edge.routes._routes.clear()
    assert b"News" not in visitor.ask("/", live.host)[2]  # nothing to list: nothing shown

    write(live, title="Without the tag", published_at=PAST)
    tagged = write(live, title="With the tag", tags=["x"], published_at=PAST)
    visitor.edge.routes._routes.clear()
    html = visitor.ask("/", live.host)[2].decode()
    assert ("With the tag" in html, "Without the tag" in html, 'href="/blog/tag/x"' in html) == (
        True,
        False,
        True,
    )
    change(live, tagged, title="Renamed")
    visitor.edge.routes._routes.clear()
    assert b"Renamed" in visitor.ask("/", live.host)[2]


def test_every_process_learns_of_a_post_from_the_stream(live, visitor):
    import time

    assert visitor.ask("/blog", live.host)[0] == 404
    write(live, published_at=PAST)
    deadline = time.monotonic() + 2
    while visitor.ask("/blog", live.host)[0] != 200:
        assert time.monotonic() < deadline, "a post is seen within 2 s"
        time.sleep(0.05)


@pytest.mark.commits
def test_a_post_is_shown_when_its_time_has_come_once_with_many_workers(live, visitor):
    now = timezone.now()
    post = write(live, published_at=(now + timedelta(hours=1)).isoformat())
    assert (post["live"], visitor.ask("/blog", live.host)[0]) == (False, 404)
    assert publishing.publish_scheduled(now=now) == 0

    def work(_):
        try:
            return publishing.publish_scheduled(now=now + timedelta(hours=2))
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(work, range(12))) == 1
    visitor.edge.routes._routes.clear()
    assert visitor.ask(f"/blog/{post['slug']}", live.host)[0] == 200
    assert Entry.objects.filter(event="post.published", subject_id=post["id"]).count() == 1
    assert live.viewer.get(live.path("posts?state=live")).json()["results"][0]["version"] == 2


def test_states_tags_and_authors_filter_the_list(team):
    draft, planned, live = (
        write(team, title=title, published_at=at, tags=[title])
        for title, at in (("d", None), ("p", (timezone.now() + timedelta(days=1)).isoformat()), ("l", PAST))
    )

    def found(query):
        return [row["id"] for row in team.viewer.get(team.path(f"posts?{query}")).json()["results"]]

    assert found("state=draft") == [draft["id"]]
    assert found("state=scheduled") == [planned["id"]]
    assert found("state=live") == [live["id"]]
    assert found("tag=d") == [draft["id"]]
    assert found(f"author={team.author.user.pk}") == []
    assert found("ordering=title") == [draft["id"], live["id"], planned["id"]]
    for bad in ("state=x", "author=x", "tag=", "site=x", "author__password=x"):
        assert team.viewer.get(team.path(f"posts?{bad}")).status_code == 400


def test_a_key_needs_the_scope_for_publishing_to_change_what_is_seen(team):

    key = team.editor.post("api-keys", {"label": "k", "scopes": ["sites.read", "sites.write"]}).json()["key"]
    robot = sign_in(team.editor.user)
    robot.access = key
    draft = robot.post(team.path("posts"), {"title": "By a robot"})
    assert draft.status_code == 201
    post = draft.json()
    for answer in (
        robot.post(team.path("posts"), {"title": "x", "published_at": PAST}),
        robot.patch(team.path(f"posts/{post['id']}"), {"published_at": PAST}, if_match="*"),
    ):
        assert (answer.status_code, answer.json()["code"]) == (403, "insufficient_scope")
    change(team, post, published_at=PAST)
    assert robot.patch(team.path(f"posts/{post['id']}"), {"title": "x"}, if_match="*").status_code == 403
    assert robot.delete(team.path(f"posts/{post['id']}"), if_match="*").status_code == 403


def test_a_deleted_post_is_purged_after_its_time_with_its_old_slugs(live):
    post = write(live, slug="a", published_at=PAST)
    change(live, post, slug="b")
    live.editor.delete(live.path(f"posts/{post['id']}"), if_match="*")
    with tenancy.context(tenancy.SYSTEM):
        assert lifecycle.purge_expired(before=datetime.now(UTC) - timedelta(days=30)) == 0
        assert lifecycle.purge_expired(before=datetime.now(UTC) + timedelta(days=1)) == 1
        assert (Post.objects.count(), FormerSlug.objects.count()) == (0, 0)


def test_posts_of_a_site_that_is_not_live_are_hidden_by_the_database_itself(live):
    write(live, published_at=PAST)
    with tenancy.context(tenancy.PUBLIC):
        assert Post.objects.count() == 1
    live.editor.post(live.path("unpublish"))
    with tenancy.context(tenancy.PUBLIC):
        assert (Post.objects.count(), Site.objects.count()) == (0, 0)


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.commits
def test_lists_cost_the_same_for_any_number(rows, live, visitor, django_assert_num_queries):
    for number in range(rows):
        write(live, title=f"Post {number}", published_at=PAST)
    visitor.ask("/", live.host)
    live.editor.get("auth/me")

    with django_assert_num_queries(5):  # begin, context, site, posts, commit
        live.editor.get(live.path("posts"))
    with django_assert_num_queries(6):  # begin, context, is there any, the release, the posts, commit
        visitor.ask("/blog", live.host)
