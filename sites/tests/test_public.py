"""The public API: published content as JSON, for every origin and without credentials."""

import base64
import json

import pytest
from django.test import Client

from core.storage import cache
from sites.tests.api_calls import PAST
from sites.tests.factories import document, page

pytestmark = pytest.mark.django_db


def get_public(path, method="GET", **headers):
    return Client().generic(method, f"/api/v1/public/sites/{path}", headers=headers)


@pytest.fixture
def live_team(team):
    blocks = [
        {"id": "h", "type": "image", "v": 1, "props": {"image": {"asset": "bakery/hero", "alt": "Bread"}}}
    ]
    settings = {"title": "خبز", "locale": "ar", "seo": {"description": "d"}}
    pages = [page(), page("/about", blocks=blocks)]
    team.author.put(team.path("blueprint"), document(*pages, settings=settings), if_match="*")
    team.editor.post(team.path("publish"))
    return team


def test_public_site_omits_blocks(live_team):
    response = get_public(live_team.host)

    body = response.json()
    assert response.status_code == 200
    assert {name: body[name] for name in ("host", "url", "title", "locale", "direction", "posts_path")} == {
        "host": live_team.host,
        "url": f"http://{live_team.host}:8000",
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
    assert response["Cache-Control"] == "public, max-age=0, must-revalidate"
    assert "Set-Cookie" not in response


def test_public_page_has_blocks_and_picture_urls(live_team, visitor):
    body = get_public(f"{live_team.host}/pages?path=/about").json()

    assert [block["type"] for block in body["blocks"]] == ["image"]
    picture = body["pictures"]["bakery/hero"]
    assert picture["width"] > picture["height"] > 0
    assert visitor.request(picture["src"].split(":8000")[1], live_team.host)[0] == 200
    assert all(
        part.strip().startswith(f"http://{live_team.host}:8000/_/a/") for part in picture["srcset"].split(",")
    )
    assert get_public(f"{live_team.host}/pages").json()["path"] == "/"
    for nowhere in ("/nowhere", "x" * 101, ""):
        assert get_public(f"{live_team.host}/pages?path={nowhere}").status_code in {400, 404}


def test_public_site_changes_with_a_publish_only(live_team):
    first = get_public(live_team.host)
    live_team.save_draft("Draft only")
    unchanged = get_public(live_team.host, **{"If-None-Match": first["ETag"]})
    assert (unchanged.status_code, unchanged.content, unchanged["ETag"]) == (304, b"", first["ETag"])

    live_team.editor.post(live_team.path("publish"))

    fresh = get_public(live_team.host, **{"If-None-Match": first["ETag"]})
    assert (fresh.status_code, fresh.json()["title"]) == (200, "Draft only")
    assert get_public(f"{live_team.host}/pages").json()["blocks"] != []
    live_team.editor.post(live_team.path("unpublish"))
    for path in ("", "/pages", "/posts", "/posts/x"):
        assert get_public(live_team.host + path).status_code == 404


def test_public_posts_are_listed_newest_first_in_pages(live_team):
    for day in (3, 1, 2):
        live_team.editor.post(
            live_team.path("posts"),
            {"title": f"On {day}", "published_at": f"2026-01-0{day}T00:00:00Z", "tags": [f"t{day % 2}"]},
        )
    live_team.editor.post(live_team.path("posts"), {"title": "Draft"})

    first = get_public(f"{live_team.host}/posts?limit=2")
    body = first.json()
    assert [post["title"] for post in body["results"]] == ["On 3", "On 2"]
    assert body["results"][0]["author"] == "The editor"
    assert "blocks" not in body["results"][0]
    rest = Client().get(body["next"].removeprefix("http://testserver")).json()
    assert [post["title"] for post in rest["results"]] == ["On 1"]
    back = Client().get(rest["previous"].removeprefix("http://testserver")).json()
    assert [post["title"] for post in back["results"]] == ["On 3", "On 2"]
    assert [post["title"] for post in get_public(f"{live_team.host}/posts?tag=t0").json()["results"]] == [
        "On 2"
    ]
    assert (
        get_public(f"{live_team.host}/posts?limit=2", **{"If-None-Match": first["ETag"]}).status_code == 304
    )
    for bad in (
        "cursor=x",
        "limit=0",
        "ordering=title",
        "state=draft",
        "cursor=WyJuIiwgIjAxYTFmZTJhLTAwMDAtNzAwMC04MDAwLTAwMDAwMDAwMDAwMCIsICJ4Il0",
    ):
        assert get_public(f"{live_team.host}/posts?{bad}").status_code == 400


def test_public_post_has_blocks_and_redirects_former_slugs(live_team):
    blocks = [{"id": "h", "type": "heading", "props": {"text": "Inside"}}]
    post = live_team.editor.post(
        live_team.path("posts"), {"title": "x", "slug": "old", "blocks": blocks, "published_at": PAST}
    ).json()
    first = get_public(f"{live_team.host}/posts/old")
    assert first.json()["blocks"] == [{"id": "h", "type": "heading", "v": 1, "props": {"text": "Inside"}}]
    assert get_public(f"{live_team.host}/posts/old", **{"If-None-Match": first["ETag"]}).status_code == 304

    live_team.editor.patch(live_team.path(f"posts/{post['id']}"), {"slug": "new"}, if_match="*")

    moved = get_public(f"{live_team.host}/posts/old")
    assert (moved.status_code, moved["Location"]) == (301, f"/api/v1/public/sites/{live_team.host}/posts/new")
    assert Client().get(moved["Location"]).status_code == 200
    assert get_public(f"{live_team.host}/posts/none").status_code == 404


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
def test_public_site_answers_404_for_unknown_hosts(live_team, host):
    response = get_public(host)

    assert response.status_code in {400, 404}
    assert get_public(live_team.host.upper()).status_code == 200


@pytest.mark.parametrize("path", ["", "/pages", "/posts", "/posts/x", "/pages?path=/nowhere"])
def test_public_viewset_allows_every_origin_without_credentials(live_team, path):
    for origin in (
        "https://anywhere.example",
        "http://localhost:3000",
    ):  # in CORS_ORIGINS, so it may send cookies to other routes
        response = get_public(live_team.host + path, Origin=origin)
        assert response["Access-Control-Allow-Origin"] == "*"
        assert "Access-Control-Allow-Credentials" not in response
        preflight = get_public(
            live_team.host + path,
            method="OPTIONS",
            Origin=origin,
            **{"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "if-none-match"},
        )
        assert (preflight.status_code, preflight["Access-Control-Allow-Origin"]) == (204, "*")
        assert "If-None-Match" in preflight["Access-Control-Allow-Headers"]
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        assert get_public(live_team.host + path, method=method).status_code == 405


@pytest.mark.commits
def test_public_page_is_cached_and_works_without_the_cache(live_team, django_assert_num_queries, monkeypatch):
    first = get_public(f"{live_team.host}/pages?path=/about")
    with django_assert_num_queries(4):  # begin, context, the site, commit
        assert get_public(f"{live_team.host}/pages?path=/about").content == first.content
    monkeypatch.setattr(cache, "get_bytes", lambda *_: None)
    assert get_public(f"{live_team.host}/pages?path=/about").content == first.content


def test_public_posts_accept_cursors_with_unusual_time_zones(live_team):
    for published_at in ("2026-01-01T00:00:00+23:59", "0001-01-01T00:00:00+23:59"):
        cursor = base64.urlsafe_b64encode(
            json.dumps(["n", str(live_team.site.pk), published_at]).encode()
        ).decode()
        response = Client().get(f"/api/v1/public/sites/{live_team.host}/posts", {"cursor": cursor})
        assert response.status_code in {200, 400}
