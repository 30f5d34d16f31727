"""Previews: the API that creates links, and the pages behind them."""

from datetime import timedelta

import pytest
from django.utils import timezone

from core import tenancy
from sites.models import Draft, Preview
from sites.services import previews
from sites.tests.api_calls import create_preview, preview_path
from sites.tests.factories import SiteFactory, document, page
from sites.tests.visitor import publish

pytestmark = pytest.mark.django_db


def test_serve_preview_shows_the_current_draft_uncached_and_unindexed(team, visitor):
    path = preview_path(create_preview(team))
    team.save_draft("Not public yet")

    status, headers, body = visitor.request(path, team.host)

    assert status == 200
    assert b"Not public yet" in body
    assert b"Preview: not published yet" in body
    assert b'<meta name="robots" content="noindex">' in body
    assert (headers["Cache-Control"], headers["X-Robots-Tag"], headers["Referrer-Policy"]) == (
        "no-store",
        "noindex, nofollow",
        "no-referrer",
    )
    assert "script-src 'none'" in headers["Content-Security-Policy"]
    assert "Set-Cookie" not in headers
    assert visitor.request("/", team.host)[0] == 404  # visitors do not see the draft


def test_serve_preview_keeps_all_links_within_the_preview(team, visitor):
    text = '<p><a href="/about">about</a> <a href="https://example.com/about">elsewhere</a></p>'
    blocks = [
        {"id": "t", "type": "text", "v": 1, "props": {"html": text}},
        {
            "id": "b",
            "type": "button",
            "v": 1,
            "props": {
                "actions": [
                    {"label": "Go", "link": {"page": "about"}},
                    {"label": "Also", "link": {"href": "/about"}},
                ]
            },
        },
        {"id": "i", "type": "image", "v": 1, "props": {"image": {"asset": "bakery/hero"}}},
    ]
    navigation = [{"label": "About", "link": {"page": "about"}}]
    draft = document(page(blocks=blocks), page("/about"), navigation=navigation)
    team.author.put(team.path("blueprint"), draft, if_match="*")
    path = preview_path(create_preview(team))
    prefix = path.rstrip("/")

    html = visitor.request(path, team.host)[2].decode()

    assert html.count(f'href="{prefix}/about"') == 6  # three navigations and three links
    assert 'href="/about"' not in html
    assert 'href="https://example.com/about"' in html
    picture = html.split(' src="')[1].split('"')[0]
    for url_path in (f"{prefix}/about", f"{prefix}/favicon.svg", picture):
        assert visitor.request(url_path, team.host)[0] == 200, url_path
    assert visitor.request(f"{prefix}/nowhere", team.host)[0] == 404
    assert visitor.request(prefix, team.host)[1]["Location"] == path
    assert visitor.request(f"{prefix}?a=%C3%A9&b", team.host)[1]["Location"] == f"{path}?a=%C3%A9&b"
    assert visitor.request(path, team.host, method="POST")[0] == 405


def test_serve_preview_shows_a_revision_unchanged(team, visitor):
    team.save_draft("Second")
    revision = team.viewer.get(team.path("revisions")).json()["results"][0]["id"]
    path = preview_path(create_preview(team, revision=revision))
    team.save_draft("Third")

    assert b"Second" in visitor.request(path, team.host)[2]


def test_serve_preview_of_a_post_shows_no_other_unpublished_page(team, visitor):
    post, secret = (
        team.author.post(team.path("posts"), {"title": title, "excerpt": "In short"}).json()
        for title in ("Soon", "Secret")
    )
    path = preview_path(create_preview(team, post=post["id"]))

    status, headers, _ = visitor.request(path, team.host)
    assert status == 302
    assert b"Soon" in visitor.request(headers["Location"], team.host)[2]
    other = visitor.request(path + "blog/secret?utm_source=mail", team.host)
    assert (other[0], other[1]["Location"]) == (302, f"http://{team.host}:8000/blog/secret?utm_source=mail")
    assert visitor.request("/blog/secret", team.host)[0] == 404
    outside = visitor.request(path + "/evil.example", team.host)
    assert outside[1]["Location"].startswith(f"http://{team.host}:8000/")
    team.author.delete(team.path(f"posts/{post['id']}"), if_match="*")
    assert visitor.request(headers["Location"], team.host)[0] == 404
    assert secret["slug"] == "secret"


@pytest.mark.parametrize(
    "forge",
    [
        lambda path: path[:-2] + "x/",
        lambda path: path.replace("/_/preview/", "/_/preview/0"),
        lambda path: "/_/preview//",
        lambda path: "/_/preview/é.é/",
        lambda path: "/_/preview/" + "a" * 5000,
    ],
)
@pytest.mark.commits
def test_serve_preview_answers_404_to_a_forged_link_without_a_query(
    team, visitor, forge, django_assert_num_queries
):
    path = preview_path(create_preview(team))
    visitor.request("/", team.host)  # loads the route of the host

    with django_assert_num_queries(3):  # BEGIN, the context, COMMIT
        status, headers, _ = visitor.request(forge(path), team.host)

    assert (status, headers["Cache-Control"]) == (404, "no-store")


def test_serve_preview_answers_404_when_expired_revoked_or_site_deleted(team, visitor):
    expired, revoked, deleted = (create_preview(team) for _ in range(3))
    with tenancy.context(tenancy.SYSTEM):
        Preview.objects.filter(pk=expired["id"]).update(expires_at=timezone.now())

    assert visitor.request(preview_path(expired), team.host)[0] == 404
    assert visitor.request(preview_path(revoked), team.host)[0] == 200
    assert team.author.delete(team.path(f"previews/{revoked['id']}")).status_code == 204
    assert visitor.request(preview_path(revoked), team.host)[0] == 404
    team.owner.delete(team.path(), if_match="*")
    assert visitor.request(preview_path(deleted), team.host)[0] == 404


def test_serve_preview_answers_404_on_the_host_of_another_site(team, visitor):
    _, other = publish()

    assert visitor.request(preview_path(create_preview(team)), other)[0] == 404


def test_create_preview_limits_the_lifetime_and_the_number_of_links(team, monkeypatch):
    preview = create_preview(team, hours=1)
    lifetime = timezone.datetime.fromisoformat(preview["expires_at"]) - timezone.now()

    assert timedelta(minutes=59) < lifetime <= timedelta(hours=1)
    for hours in (0, 721, "x"):
        assert team.author.post(team.path("previews"), {"hours": hours}).status_code == 400
    monkeypatch.setattr(previews, "MAX_PREVIEWS", 1)
    assert team.author.post(team.path("previews"), {}).json()["code"] == "too_many_previews"


def test_create_preview_refuses_posts_and_revisions_of_other_sites(team, other):
    site_of_other = SiteFactory(owner=other.user)
    post = other.post(f"sites/{site_of_other.pk}/posts", {"title": "Other"}).json()["id"]
    revision = other.get(f"sites/{site_of_other.pk}/revisions").json()["results"][0]["id"]

    assert team.author.post(team.path("previews"), {"post": post}).status_code == 404
    assert team.author.post(team.path("previews"), {"revision": revision}).status_code == 404
    assert team.author.post(team.path("previews"), {"revision": revision, "post": post}).status_code == 400


def test_create_preview_stores_no_token(team):
    url = create_preview(team)["url"]
    with tenancy.context(tenancy.SYSTEM):
        assert url.split(".")[-1].rstrip("/") not in str(list(Preview.objects.values()))


def test_serve_preview_shows_a_draft_that_was_stored_without_pages(team, visitor):
    assert (
        team.author.put(team.path("blueprint"), {"settings": {"title": "Bare"}}, if_match="*").status_code
        == 200
    )
    path = preview_path(create_preview(team))
    with tenancy.context(tenancy.SYSTEM):
        Draft.objects.filter(site=team.site).update(blueprint={"settings": {"title": "Older"}})

    for rest in ("", "sitemap.xml", "favicon.svg", "nowhere"):
        assert visitor.request(path + rest, team.host)[0] in {200, 404}
