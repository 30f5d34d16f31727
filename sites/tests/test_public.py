"""The published content as JSON, for anybody from anywhere."""

import pytest
from django.test import Client

from core.storage import cache
from sites.tests.factories import document, page

pytestmark = pytest.mark.django_db
PAST = "2026-01-02T03:04:05Z"


def ask(path, method="GET", **headers):
    return Client().generic(method, f"/api/v1/public/sites/{path}", headers=headers)


@pytest.fixture
def live(team):
    blocks = [
        {"id": "h", "type": "image", "v": 1, "props": {"image": {"asset": "bakery/hero", "alt": "Bread"}}}
    ]
    settings = {"title": "خبز", "locale": "ar", "seo": {"description": "d"}}
    pages = [page(), page("/about", blocks=blocks)]
    team.author.put(team.path("blueprint"), document(*pages, settings=settings), if_match="*")
    team.editor.post(team.path("publish"))
    return team


def test_a_site_tells_everything_but_its_blocks(live):
    answer = ask(live.host)

    body = answer.json()
    assert answer.status_code == 200
    assert {name: body[name] for name in ("host", "url", "title", "locale", "direction", "posts_path")} == {
        "host": live.host,
        "url": f"http://{live.host}:8000",
        "title": "خبز",
        "locale": "ar",
        "direction": "rtl",
        "posts_path": "/blog",
    }
    assert body["pages"] == [
        {"id": "home", "path": "/", "title": "Home", "seo": {}},
        {"id": "about", "path": "/about", "title": "About", "seo": {}},
    ]
    assert body["release"]["number"] == 1
    assert answer["Cache-Control"] == "public, max-age=0, must-revalidate"
    assert "Set-Cookie" not in answer


def test_a_page_comes_with_blocks_and_the_addresses_of_its_pictures(live, visitor):
    body = ask(f"{live.host}/pages?path=/about").json()

    assert [block["type"] for block in body["blocks"]] == ["image"]
    picture = body["pictures"]["bakery/hero"]
    assert picture["width"] > picture["height"] > 0
    assert visitor.ask(picture["src"].split(":8000")[1], live.host)[0] == 200
    assert all(
        part.strip().startswith(f"http://{live.host}:8000/_/a/") for part in picture["srcset"].split(",")
    )
    assert ask(f"{live.host}/pages").json()["path"] == "/"
    for nowhere in ("/nowhere", "x" * 101, ""):
        assert ask(f"{live.host}/pages?path={nowhere}").status_code in {400, 404}


def test_a_publish_is_seen_at_once_and_a_draft_never(live):
    first = ask(live.host)
    live.save("Draft only")
    same = ask(live.host, **{"If-None-Match": first["ETag"]})
    assert (same.status_code, same.content, same["ETag"]) == (304, b"", first["ETag"])

    live.editor.post(live.path("publish"))

    fresh = ask(live.host, **{"If-None-Match": first["ETag"]})
    assert (fresh.status_code, fresh.json()["title"]) == (200, "Draft only")
    assert ask(f"{live.host}/pages").json()["blocks"] != []
    live.editor.post(live.path("unpublish"))
    for path in ("", "/pages", "/posts", "/posts/x"):
        assert ask(live.host + path).status_code == 404


def test_posts_are_listed_newest_first_page_by_page(live):
    for day in (3, 1, 2):
        live.editor.post(
            live.path("posts"),
            {"title": f"On {day}", "published_at": f"2026-01-0{day}T00:00:00Z", "tags": [f"t{day % 2}"]},
        )
    live.editor.post(live.path("posts"), {"title": "Draft"})

    first = ask(f"{live.host}/posts?limit=2")
    body = first.json()
    assert [post["title"] for post in body["results"]] == ["On 3", "On 2"]
    assert body["results"][0]["author"] == "The editor"
    assert "blocks" not in body["results"][0]
    rest = Client().get(body["next"].removeprefix("http://testserver")).json()
    assert [post["title"] for post in rest["results"]] == ["On 1"]
    back = Client().get(rest["previous"].removeprefix("http://testserver")).json()
    assert [post["title"] for post in back["results"]] == ["On 3", "On 2"]
    assert [post["title"] for post in ask(f"{live.host}/posts?tag=t0").json()["results"]] == ["On 2"]
    assert ask(f"{live.host}/posts?limit=2", **{"If-None-Match": first["ETag"]}).status_code == 304
    for bad in (
        "cursor=x",
        "limit=0",
        "ordering=title",
        "state=draft",
        "cursor=WyJuIiwgIjAxYTFmZTJhLTAwMDAtNzAwMC04MDAwLTAwMDAwMDAwMDAwMCIsICJ4Il0",
    ):
        assert ask(f"{live.host}/posts?{bad}").status_code == 400


def test_one_post_has_its_blocks_and_is_found_by_its_old_slug(live):
    blocks = [{"id": "h", "type": "heading", "props": {"text": "Inside"}}]
    post = live.editor.post(
        live.path("posts"), {"title": "x", "slug": "old", "blocks": blocks, "published_at": PAST}
    ).json()
    first = ask(f"{live.host}/posts/old")
    assert first.json()["blocks"] == [{"id": "h", "type": "heading", "v": 1, "props": {"text": "Inside"}}]
    assert ask(f"{live.host}/posts/old", **{"If-None-Match": first["ETag"]}).status_code == 304

    live.editor.patch(live.path(f"posts/{post['id']}"), {"slug": "new"}, if_match="*")

    moved = ask(f"{live.host}/posts/old")
    assert (moved.status_code, moved["Location"]) == (301, f"/api/v1/public/sites/{live.host}/posts/new")
    assert Client().get(moved["Location"]).status_code == 200
    assert ask(f"{live.host}/posts/none").status_code == 404


@pytest.mark.parametrize(
    "host",
    [
        "nobody.localhost",
        "localhost",
        ".localhost",
        "%00.localhost",
        "a" * 300,
        "x.example.com",
        "xn--a.localhost",
        "1.2.3.4",
    ],
)
def test_a_host_that_shows_nothing_is_a_404(live, host):
    answer = ask(host)

    assert answer.status_code in {400, 404}
    assert ask(live.host.upper()).status_code == 200


@pytest.mark.parametrize("path", ["", "/pages", "/posts", "/posts/x", "/pages?path=/nowhere"])
def test_any_origin_may_read_and_none_brings_a_cookie(live, path):
    for origin in (
        "https://anywhere.example",
        "http://localhost:3000",
    ):  # the second may use cookies elsewhere
        answer = ask(live.host + path, Origin=origin)
        assert answer["Access-Control-Allow-Origin"] == "*"
        assert "Access-Control-Allow-Credentials" not in answer
        preflight = ask(
            live.host + path,
            method="OPTIONS",
            Origin=origin,
            **{"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "if-none-match"},
        )
        assert (preflight.status_code, preflight["Access-Control-Allow-Origin"]) == (204, "*")
        assert "If-None-Match" in preflight["Access-Control-Allow-Headers"]
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        assert ask(live.host + path, method=method).status_code == 405


@pytest.mark.commits
def test_reading_again_costs_one_query_and_without_a_cache_it_still_works(
    live, django_assert_num_queries, monkeypatch
):
    first = ask(f"{live.host}/pages?path=/about")
    with django_assert_num_queries(4):  # begin, context, the site as it is, commit
        assert ask(f"{live.host}/pages?path=/about").content == first.content
    monkeypatch.setattr(cache, "get_bytes", lambda *_: None)
    assert ask(f"{live.host}/pages?path=/about").content == first.content
