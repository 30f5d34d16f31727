"""Posts: created, changed, published at a time, listed, deleted and purged."""

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connections
from django.utils import timezone

from audit.actors import SYSTEM
from audit.models import Entry
from conftest import sign_in
from core import lifecycle, tenancy
from core.http.preconditions import ANY_VERSION
from sites.models import Access, FormerSlug, Post, Site
from sites.services import posts, publishing
from sites.tests.api_calls import PAST, create_post, patch_post
from sites.tests.factories import heading_block

pytestmark = pytest.mark.django_db


def test_post_viewset_creates_changes_deletes_and_restores_a_post(team):
    response = team.author.post(
        team.path("posts"),
        {
            "title": "Hello, Wörld!",
            "blocks": [heading_block("b1", "Hi")],
            "tags": ["a b", "c", "c"],
            "excerpt": "Short",
        },
    )
    body = response.json()
    assert (response.status_code, response["ETag"], response["Location"]) == (
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
    assert team.viewer.get(response["Location"]).json() == body

    assert patch_post(team, body, version=None, title="x").status_code == 428
    assert patch_post(team, body, version=7, title="x").status_code == 412
    changed = patch_post(team, body, version=1, title="Hello", blocks=[])
    assert (changed.status_code, changed["ETag"], changed.json()["blocks"]) == (200, '"2"', [])

    assert team.editor.delete(response["Location"], if_match=2).status_code == 204
    assert team.viewer.get(response["Location"]).status_code == 404
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
def test_create_post_refuses_invalid_fields(team, body):
    response = team.editor.post(team.path("posts"), body)

    assert (response.status_code, response.json()["code"]) == (400, "invalid")


def test_create_post_validates_blocks_with_json_pointers(team):
    blocks = [
        heading_block("b1", "a"),
        heading_block("b1", "b"),
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
    type_errors = team.editor.post(
        team.path("posts"), {"title": "x", "blocks": [heading_block("b1", 5)]}
    ).json()["errors"]
    assert type_errors[0]["pointer"] == "/blocks/0/props/text"


def test_create_post_refuses_the_slug_of_a_deleted_post(team):
    first = create_post(team, title="Same")
    second = create_post(team, title="Same")
    assert (first["slug"], second["slug"], create_post(team, title="🎈")["slug"]) == (
        "same",
        "same-2",
        "post",
    )
    assert team.editor.post(team.path("posts"), {"title": "x", "slug": "same"}).json()["code"] == "slug_taken"
    assert patch_post(team, second, slug="same").json()["code"] == "slug_taken"
    team.editor.delete(team.path(f"posts/{first['id']}"), if_match="*")
    assert team.editor.post(team.path("posts"), {"title": "x", "slug": "same"}).status_code == 409


def test_change_post_lets_authors_edit_own_drafts_only(team):
    response = team.author.post(team.path("posts"), {"title": "x", "published_at": PAST})
    assert (response.status_code, response.json()["code"]) == (403, "site_role_too_low")
    own_post = create_post(team, role="author")
    other_post = create_post(team, title="Other")
    assert patch_post(team, own_post, role="author", title="Mine").status_code == 200
    assert patch_post(team, own_post, role="author", published_at=PAST).status_code == 403
    assert patch_post(team, own_post, role="author", author=str(team.editor.user.pk)).status_code == 403
    assert patch_post(team, other_post, role="author", title="Taken").status_code == 403
    assert team.author.delete(team.path(f"posts/{other_post['id']}"), if_match="*").status_code == 403
    assert patch_post(team, own_post, published_at=PAST).status_code == 200
    published_change = patch_post(team, own_post, role="author", title="Again")
    assert published_change.status_code == 403
    assert team.author.delete(team.path(f"posts/{own_post['id']}"), if_match="*").status_code == 403
    assert team.viewer.post(team.path("posts"), {"title": "x"}).status_code == 403


def test_change_post_accepts_authors_who_may_write_only(team):
    post = create_post(team)

    assert patch_post(team, post, author=str(team.author.user.pk)).json()["author"] == str(
        team.author.user.pk
    )
    for user in (team.viewer, team.stranger):
        response = patch_post(team, post, author=str(user.user.pk))
        assert response.json()["errors"][0]["pointer"] == "/author"
    assert patch_post(team, post, author=None).json()["author"] is None


def test_bump_posts_version_reaches_every_process_within_two_seconds(live_team, visitor):
    assert b"Newest" not in visitor.request("/blog", live_team.host)[2]
    create_post(live_team, title="Newest", published_at=PAST)
    deadline = time.monotonic() + 2
    while b"Newest" not in visitor.request("/blog", live_team.host)[2]:
        assert time.monotonic() < deadline, "a post must be visible within 2 seconds"
        time.sleep(0.05)


@pytest.mark.commits
def test_publish_due_posts_publishes_once_with_parallel_workers(live_team, visitor):
    now = timezone.now()
    post = create_post(live_team, published_at=(now + timedelta(hours=1)).isoformat())
    assert (post["live"], visitor.request(f"/blog/{post['slug']}", live_team.host)[0]) == (False, 404)
    assert publishing.publish_scheduled(now=now) == 0

    def publish_due(_):
        try:
            return publishing.publish_scheduled(now=now + timedelta(hours=2))
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(publish_due, range(12))) == 1
    visitor.edge.routes._routes.clear()
    assert visitor.request(f"/blog/{post['slug']}", live_team.host)[0] == 200
    assert Entry.objects.filter(event="post.published", subject_id=post["id"]).count() == 1
    assert live_team.viewer.get(live_team.path("posts?state=live")).json()["results"][0]["version"] == 2


def test_list_posts_filters_by_state_tag_and_author(team):
    draft, planned, live = (
        create_post(team, title=title, published_at=at, tags=[title])
        for title, at in (("d", None), ("p", (timezone.now() + timedelta(days=1)).isoformat()), ("l", PAST))
    )

    def listed_ids(query):
        return [row["id"] for row in team.viewer.get(team.path(f"posts?{query}")).json()["results"]]

    assert listed_ids("state=draft") == [draft["id"]]
    assert listed_ids("state=scheduled") == [planned["id"]]
    assert listed_ids("state=live") == [live["id"]]
    assert listed_ids("tag=d") == [draft["id"]]
    assert listed_ids(f"author={team.author.user.pk}") == []
    assert listed_ids("ordering=title") == [draft["id"], live["id"], planned["id"]]
    for bad in ("state=x", "author=x", "tag=", "site=x", "author__password=x"):
        assert team.viewer.get(team.path(f"posts?{bad}")).status_code == 400


def test_check_publish_scope_refuses_api_keys_without_the_publish_scope(team):
    key = team.editor.post("api-keys", {"label": "k", "scopes": ["sites.read", "sites.write"]}).json()["key"]
    api_with_key = sign_in(team.editor.user)
    api_with_key.access = key
    draft = api_with_key.post(team.path("posts"), {"title": "By an API key"})
    assert draft.status_code == 201
    post = draft.json()
    for response in (
        api_with_key.post(team.path("posts"), {"title": "x", "published_at": PAST}),
        api_with_key.patch(team.path(f"posts/{post['id']}"), {"published_at": PAST}, if_match="*"),
    ):
        assert (response.status_code, response.json()["code"]) == (403, "insufficient_scope")
    patch_post(team, post, published_at=PAST)
    assert (
        api_with_key.patch(team.path(f"posts/{post['id']}"), {"title": "x"}, if_match="*").status_code == 403
    )
    assert api_with_key.delete(team.path(f"posts/{post['id']}"), if_match="*").status_code == 403


def test_purge_posts_deletes_expired_posts_with_their_former_slugs(live_team):
    post = create_post(live_team, slug="a", published_at=PAST)
    patch_post(live_team, post, slug="b")
    live_team.editor.delete(live_team.path(f"posts/{post['id']}"), if_match="*")
    with tenancy.context(tenancy.SYSTEM):
        assert lifecycle.purge_expired(before=datetime.now(UTC) - timedelta(days=30)) == 0
        assert lifecycle.purge_expired(before=datetime.now(UTC) + timedelta(days=1)) == 1
        assert (Post.objects.count(), FormerSlug.objects.count()) == (0, 0)


def test_row_level_security_hides_posts_of_unpublished_sites(live_team):
    create_post(live_team, published_at=PAST)
    with tenancy.context(tenancy.PUBLIC):
        assert Post.objects.count() == 1
    live_team.editor.post(live_team.path("unpublish"))
    with tenancy.context(tenancy.PUBLIC):
        assert (Post.objects.count(), Site.objects.count()) == (0, 0)


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.commits
def test_list_posts_runs_the_same_queries_for_any_number_of_rows(
    rows, live_team, visitor, django_assert_num_queries
):
    for number in range(rows):
        create_post(live_team, title=f"Post {number}", published_at=PAST)
    visitor.request("/", live_team.host)
    live_team.editor.get("auth/me")

    with django_assert_num_queries(5):  # begin, context, site, posts, commit
        live_team.editor.get(live_team.path("posts"))
    with django_assert_num_queries(5):  # begin, context, the release, the posts, commit
        visitor.request("/blog", live_team.host)


def test_create_post_does_not_reuse_a_former_slug(live_team, visitor):
    post = create_post(live_team, slug="known", published_at=PAST)
    patch_post(live_team, post, slug="moved")
    assert create_post(live_team, role="author", title="Known")["slug"] == "known-2"
    live_team.author.post(live_team.path("posts"), {"title": "x", "slug": "known"})

    assert visitor.request("/blog/known", live_team.host)[1]["Location"] == "/blog/moved"


def test_former_slugs_are_refused_to_other_posts_for_30_days(live_team):
    post = create_post(live_team, slug="known")
    patch_post(live_team, post, slug="moved")
    second = create_post(live_team, slug="second")

    created = live_team.editor.post(live_team.path("posts"), {"title": "x", "slug": "known"})
    changed = patch_post(live_team, second, slug="known")
    assert [(response.status_code, response.json()["code"]) for response in (created, changed)] == [
        (409, "slug_taken")
    ] * 2

    with tenancy.context(tenancy.SYSTEM):
        FormerSlug.objects.update(released_at=timezone.now() - timedelta(days=31))
    assert patch_post(live_team, second, slug="known").status_code == 200


def test_change_post_takes_its_own_former_slug_back_at_once(live_team):
    post = create_post(live_team, slug="known")
    patch_post(live_team, post, slug="moved")

    assert patch_post(live_team, post, slug="known").status_code == 200


def test_lock_site_refuses_a_site_deleted_meanwhile(live_team):
    post_id = create_post(live_team)["id"]
    with tenancy.context(tenancy.SYSTEM):
        stale_post = Post.objects.select_related("site").get(pk=post_id)
        stale_site = Site.objects.get(pk=live_team.site.pk)
    live_team.editor.delete(live_team.path(f"posts/{post_id}"), if_match="*")
    live_team.owner.delete(live_team.path(), if_match="*")

    with tenancy.context(tenancy.SYSTEM):
        with pytest.raises(Site.DoesNotExist):
            posts.change_post(
                stale_post,
                {"title": "x"},
                actor=SYSTEM,
                role=Access.Role.OWNER,
                if_match=ANY_VERSION,
                now=timezone.now(),
            )
        with pytest.raises(Site.DoesNotExist):
            publishing.publish_site(stale_site, actor=SYSTEM, if_match=ANY_VERSION)


@pytest.mark.commits
def test_purge_posts_keeps_posts_restored_meanwhile(live_team, monkeypatch):
    """The post is restored by another request right before its transaction begins."""
    post_path = live_team.path(f"posts/{create_post(live_team)['id']}")
    live_team.editor.delete(post_path, if_match="*")
    tomorrow = timezone.now() + timedelta(days=1)
    real_atomic = posts.transaction.atomic
    restore_statuses = []

    def restore_then_begin(*options):
        if not restore_statuses:
            restore_statuses.append(None)
            with ThreadPoolExecutor(1) as pool:
                restored = pool.submit(live_team.editor.post, f"{post_path}/restore").result()
                restore_statuses[0] = restored.status_code
                pool.submit(connections.close_all)
        return real_atomic(*options)

    monkeypatch.setattr(posts.transaction, "atomic", restore_then_begin)
    with tenancy.context(tenancy.SYSTEM):
        assert posts.purge_posts(tomorrow) == 0
    assert restore_statuses == [200]
    assert live_team.editor.get(post_path).status_code == 200


@pytest.mark.commits
def test_change_post_keeps_every_change_of_twenty_parallel_clients(team):
    post = create_post(team)

    def add_tag(number):
        try:
            while True:
                current = team.editor.get(team.path(f"posts/{post['id']}"))
                tags = [*current.json()["tags"], f"t{number}"]
                response = patch_post(team, post, version=current["ETag"], tags=tags)
                if response.status_code == 200:
                    return response["ETag"]
                assert response.status_code == 412
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(add_tag, range(20)))) == 20
    assert sorted(team.editor.get(team.path(f"posts/{post['id']}")).json()["tags"]) == sorted(
        f"t{n}" for n in range(20)
    )
