"""Preview links: they show what they were made for to whoever has them, and to nobody else."""

from datetime import timedelta

import pytest
from django.utils import timezone

from core import tenancy
from sites.models import Preview
from sites.tests.factories import document, page

pytestmark = pytest.mark.django_db


def make(team, who="author", **body):
    answer = team.of(who).post(team.path("previews"), body)
    assert answer.status_code == 201, answer.content
    return answer.json()


def path_of(preview):
    return "/" + preview["url"].split("/", 3)[3]


def test_a_preview_shows_the_draft_as_it_is_and_is_never_kept_or_indexed(team, visitor):
    address = path_of(make(team))
    team.save("Not public yet")

    status, headers, body = visitor.ask(address, team.host)

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
    assert visitor.ask("/", team.host)[0] == 404  # and visitors still see nothing


def test_everything_within_a_preview_stays_within_it(team, visitor):
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
    address = path_of(make(team))
    prefix = address.rstrip("/")

    html = visitor.ask(address, team.host)[2].decode()

    assert html.count(f'href="{prefix}/about"') == 6  # three in navigations, and each link
    assert 'href="/about"' not in html
    assert 'href="https://example.com/about"' in html
    picture = html.split(' src="')[1].split('"')[0]
    for inner in (f"{prefix}/about", f"{prefix}/favicon.svg", picture):
        assert visitor.ask(inner, team.host)[0] == 200, inner
    assert visitor.ask(f"{prefix}/nowhere", team.host)[0] == 404
    assert visitor.ask(prefix, team.host)[1]["Location"] == address
    assert visitor.ask(address, team.host, method="POST")[0] == 405


def test_a_preview_of_a_revision_stays_what_it_was(team, visitor):
    team.save("Second")
    revision = team.viewer.get(team.path("revisions")).json()["results"][0]["id"]
    address = path_of(make(team, revision=revision))
    team.save("Third")

    assert b"Second" in visitor.ask(address, team.host)[2]


def test_a_preview_of_a_post_shows_that_post_and_nothing_else_unpublished(team, visitor):
    post, secret = (
        team.author.post(team.path("posts"), {"title": title, "excerpt": "In short"}).json()
        for title in ("Soon", "Secret")
    )
    address = path_of(make(team, post=post["id"]))

    status, headers, _ = visitor.ask(address, team.host)
    assert status == 302
    assert b"Soon" in visitor.ask(headers["Location"], team.host)[2]
    other = visitor.ask(address + "blog/secret", team.host)
    assert (other[0], other[1]["Location"]) == (302, f"http://{team.host}:8000/blog/secret")
    assert visitor.ask("/blog/secret", team.host)[0] == 404
    outside = visitor.ask(address + "/evil.example", team.host)
    assert outside[1]["Location"].startswith(f"http://{team.host}:8000/")
    team.author.delete(team.path(f"posts/{post['id']}"), if_match="*")
    assert visitor.ask(headers["Location"], team.host)[0] == 404
    assert secret["slug"] == "secret"


@pytest.mark.parametrize(
    "change",
    [
        lambda a: a[:-2] + "x/",
        lambda a: a.replace("/_/preview/", "/_/preview/0"),
        lambda a: "/_/preview//",
        lambda a: "/_/preview/é.é/",
        lambda a: "/_/preview/" + "a" * 5000,
    ],
)
@pytest.mark.commits
def test_a_forged_link_is_a_404_without_a_query(team, visitor, change, django_assert_num_queries):
    address = path_of(make(team))
    visitor.ask("/", team.host)  # so that the host is known

    with django_assert_num_queries(3):  # the context's begin, setting and commit
        status, headers, _ = visitor.ask(change(address), team.host)

    assert (status, headers["Cache-Control"]) == (404, "no-store")


def test_a_link_ends_when_it_expires_is_revoked_or_its_site_is_deleted(team, visitor):
    expired, revoked, deleted = (make(team) for _ in range(3))
    with tenancy.context(tenancy.SYSTEM):
        Preview.objects.filter(pk=expired["id"]).update(expires_at=timezone.now())

    assert visitor.ask(path_of(expired), team.host)[0] == 404
    assert visitor.ask(path_of(revoked), team.host)[0] == 200
    assert team.author.delete(team.path(f"previews/{revoked['id']}")).status_code == 204
    assert visitor.ask(path_of(revoked), team.host)[0] == 404
    team.owner.delete(team.path(), if_match="*")
    assert visitor.ask(path_of(deleted), team.host)[0] == 404


def test_a_link_works_on_the_host_of_its_own_site_only(team, visitor):
    from sites.tests.visitor import publish

    _, other = publish()

    assert visitor.ask(path_of(make(team)), other)[0] == 404


def test_a_link_lives_as_long_as_asked_and_a_site_has_so_many(team, monkeypatch):
    made = make(team, hours=1)
    lasts = timezone.datetime.fromisoformat(made["expires_at"]) - timezone.now()

    assert timedelta(minutes=59) < lasts <= timedelta(hours=1)
    for hours in (0, 721, "x"):
        assert team.author.post(team.path("previews"), {"hours": hours}).status_code == 400
    from sites.services import previews

    monkeypatch.setattr(previews, "MAX_PREVIEWS", 1)
    assert team.author.post(team.path("previews"), {}).json()["code"] == "too_many_previews"


def test_a_link_cannot_be_made_of_what_is_anothers(team, other):
    from sites.tests.factories import SiteFactory

    theirs = SiteFactory(owner=other.user)
    post = other.post(f"sites/{theirs.pk}/posts", {"title": "Theirs"}).json()["id"]
    revision = other.get(f"sites/{theirs.pk}/revisions").json()["results"][0]["id"]

    assert team.author.post(team.path("previews"), {"post": post}).status_code == 404
    assert team.author.post(team.path("previews"), {"revision": revision}).status_code == 404
    assert team.author.post(team.path("previews"), {"revision": revision, "post": post}).status_code == 400


def test_the_database_alone_makes_no_link(team):
    url = make(team)["url"]
    with tenancy.context(tenancy.SYSTEM):
        assert url.split(".")[-1].rstrip("/") not in str(list(Preview.objects.values()))
