"""What an attack on teams, plans and posts found, each with the test that would have found it before."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connections
from django.test import Client
from django.utils import timezone

from accounts.models import User
from accounts.tests.helpers import deliver_and_read_mails
from core import tenancy
from core.errors import Invalid
from core.http import preconditions
from core.jobs import queue
from sites import services
from sites.blueprint import schema
from sites.blueprint.blocks.fields import MAX_OPEN
from sites.models import Access, Preview, Revision, Schedule, Site
from sites.services import drafts, posts, publishing
from sites.services.members import INVITATIONS_A_DAY
from sites.tests.factories import SiteFactory, document, page
from sites.tests.test_posts import PAST, change, write
from sites.tests.test_previews import make, path_of
from sites.tests.test_publishing import due, events, plan, shown

pytestmark = pytest.mark.django_db


@pytest.fixture
def live(team):
    assert team.editor.post(team.path("publish")).status_code == 201
    return team


def lists(count, **props):
    return [{"id": f"p{n}", "type": "posts", "v": 1, "props": props} for n in range(count)]


@pytest.mark.commits
def test_a_page_lists_posts_so_often_and_reads_each_list_once(live, visitor, django_assert_max_num_queries):
    with pytest.raises(Invalid, match="not valid"):
        schema.validate(document(page(blocks=lists(schema.MAX_POST_LISTS + 1))))
    assert live.editor.post(live.path("posts"), {"title": "x", "blocks": lists(11)}).status_code == 400
    live.author.put(live.path("blueprint"), document(page(blocks=lists(schema.MAX_POST_LISTS))), if_match="*")
    live.editor.post(live.path("publish"))
    write(live, published_at=PAST)
    visitor.ask("/robots.txt", live.host)

    with django_assert_max_num_queries(6):
        assert visitor.ask("/", live.host)[2].count(b"A post") == schema.MAX_POST_LISTS


@pytest.mark.commits
def test_many_visitors_of_a_cold_page_wait_for_one_who_makes_it(live, visitor, monkeypatch):
    from sites.serving import page_cache

    made = []
    real = page_cache._render
    monkeypatch.setattr(
        page_cache, "_render", lambda *all_of: made.append(1) or time.sleep(0.2) or real(*all_of)
    )

    def ask(_):
        try:
            return visitor.ask("/", live.host)[0]
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(ask, range(8))) == {200}
    assert len(made) == 1
    assert visitor.edge.pages._making == {}


@pytest.mark.parametrize("pin", ["preview", "plan"])
def test_what_names_no_revision_does_not_keep_every_revision(live, pin):
    for title in ("One", "Two"):
        live.save(title)
    if pin == "preview":
        live.author.post(live.path("previews"), {})
    else:
        plan(live, act="unpublish")

    with tenancy.context(tenancy.SYSTEM):
        drafts.thin_revisions(now=timezone.now() + timedelta(days=4000))
        assert Revision.objects.filter(site=live.site).count() == 1


def test_a_claimed_plan_keeps_its_revision_and_ends_with_its_makers_rights(live):
    live.save("Planned")
    plan(live)
    live.save("Later")
    due()
    (claimed,) = queue.claim(Schedule, now=timezone.now())
    with tenancy.context(tenancy.SYSTEM):
        drafts.thin_revisions(now=timezone.now() + timedelta(days=4000))
        assert Schedule.objects.count() == 1
    live.owner.delete(live.path(f"members/{live.editor.user.pk}"))

    assert queue.run(claimed, lambda: services.publishing._run(claimed), now=timezone.now())

    assert shown(live)[0] == "A site"
    assert "site.schedule_cancelled" in events(live, "site.schedule_cancelled")


@pytest.mark.parametrize("what", ["schedules", "reviews", "previews", "releases"])
@pytest.mark.commits
def test_lists_leave_blueprints_where_they_are(live, what, django_assert_max_num_queries):
    plan(live)
    live.author.post(live.path("reviews"), {})
    live.author.post(live.path("previews"), {})
    with django_assert_max_num_queries(5) as seen:
        assert live.owner.get(live.path(what)).status_code == 200
    assert not any('"blueprint"' in query["sql"] for query in seen.captured_queries)
    with django_assert_max_num_queries(5) as seen:
        assert live.owner.get("sites").status_code == 200
    assert not any('"blueprint"' in query["sql"] for query in seen.captured_queries)


def test_a_tag_is_not_found_by_what_begins_with_it(live, visitor):
    write(live, tags=["x" * 40], published_at=PAST)

    assert visitor.ask("/blog/tag/" + "x" * 40, live.host)[0] == 200
    assert visitor.ask("/blog/tag/" + "x" * 40 + "BUY", live.host)[0] == 404
    assert live.editor.get(live.path("posts?tag=" + "x" * 41)).status_code == 400
    assert Client().get(f"/api/v1/public/sites/{live.host}/posts?tag=" + "x" * 41).status_code == 400


@pytest.mark.parametrize("path", ["/blog/\x00", "/blog/tag/\x00", "/blog/tag/a\x00"])
def test_nul_in_an_address_is_a_404(live, visitor, path):
    assert visitor.ask(path, live.host)[0] == 404


def test_a_time_zone_that_postgresql_does_not_know_is_no_500(live):
    import base64
    import json

    for moment in ("2026-01-01T00:00:00+23:59", "0001-01-01T00:00:00+23:59"):
        cursor = base64.urlsafe_b64encode(json.dumps(["n", str(live.site.pk), moment]).encode()).decode()
        answer = Client().get(f"/api/v1/public/sites/{live.host}/posts", {"cursor": cursor})
        assert answer.status_code in {200, 400}


def during_the_lock_of(team, act, meanwhile):
    """`act` waits for the site, which another transaction holds while `meanwhile` is done in a third."""
    answer = []
    held = threading.Event()
    go = threading.Event()

    def hold():
        with tenancy.context(tenancy.SYSTEM):
            Site.objects.select_for_update().get(pk=team.site.pk)
            held.set()
            go.wait(10)
        connections.close_all()

    def wait():
        answer.append(act())
        connections.close_all()

    holder = threading.Thread(target=hold)
    waiter = threading.Thread(target=wait)
    holder.start()
    held.wait(10)
    waiter.start()
    time.sleep(0.4)
    changer = threading.Thread(target=lambda: (meanwhile(), connections.close_all()))
    changer.start()
    time.sleep(0.4)
    go.set()
    for thread in (holder, waiter, changer):
        thread.join(20)
    return answer[0]


@pytest.mark.commits
def test_whoever_takes_a_right_away_waits_for_what_was_begun_with_it(live):
    """So nothing happens after the answer that the right is gone."""
    order = []
    answer = during_the_lock_of(
        live,
        lambda: (live.editor.post(live.path("publish")), order.append("published"))[0],
        lambda: (
            live.owner.patch(live.path(f"members/{live.editor.user.pk}"), {"role": "author"}),
            order.append("demoted"),
        ),
    )

    assert (answer.status_code, order) == (201, ["published", "demoted"])
    assert live.editor.post(live.path("publish")).status_code == 403


@pytest.mark.commits
def test_two_acts_of_the_owner_at_once_do_not_block_each_other_for_ever(live):
    def act(number):
        try:
            if number % 2:
                return live.owner.patch(
                    live.path(f"members/{live.viewer.user.pk}"), {"role": "author"}
                ).status_code
            return live.owner.post(live.path("transfer"), {"member": str(live.editor.user.pk)}).status_code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(6) as pool:
        codes = set(pool.map(act, range(6)))
    assert codes <= {200, 403}
    assert Access.objects.filter(site=live.site, role="owner").count() == 1


def test_deep_rich_text_is_refused_before_it_is_read(live):
    deep = {"id": "t", "type": "text", "v": 1, "props": {"html": "<ul><li>" * 6000}}

    started = time.process_time()
    answer = live.author.put(
        live.path("blueprint"),
        document(page(blocks=[{**deep, "id": f"t{n}"} for n in range(20)])),
        if_match="*",
    )

    assert answer.status_code == 400
    assert time.process_time() - started < 2, "each would have taken half a second"
    fine = {**deep, "props": {"html": "<ul>" + "<li>x</li>" * 3000 + "</ul>"}}
    assert (
        live.author.put(live.path("blueprint"), document(page(blocks=[fine])), if_match="*").status_code
        == 200
    )
    many = {**deep, "props": {"html": "</p>" * 500 + "<b>" * (MAX_OPEN + 1)}}
    assert (
        live.author.put(live.path("blueprint"), document(page(blocks=[many])), if_match="*").status_code
        == 400
    )


def test_a_disabled_member_publishes_nothing_and_shows_nothing(live, visitor):
    address = path_of(make(live, who="editor"))
    live.save("Planned")
    plan(live)
    due()
    User.objects.filter(pk=live.editor.user.pk).update(is_active=False)

    publishing.publish_scheduled(now=timezone.now())

    assert visitor.ask(address, live.host)[0] == 404
    assert shown(live)[0] == "A site"
    assert live.owner.get(live.path("schedules")).json()["results"][0]["refused"] == "author_gone"
    post = write(live, who="author")
    assert change(live, post, who="owner", author=str(live.editor.user.pk)).status_code == 400


def test_a_plan_that_comes_late_does_not_overwrite_what_is_newer(live):
    live.save("Old plan")
    plan(live)
    due()
    queue.claim(Schedule, now=timezone.now())  # and the worker dies with it
    live.save("Newer")
    live.editor.post(live.path("publish"))

    publishing.publish_scheduled(now=timezone.now() + 2 * queue.LEASE)

    assert shown(live)[0] == "Newer"
    assert live.owner.get(live.path("schedules")).json()["results"][0]["refused"] == "overtaken"


def test_a_cancelled_plan_does_not_stop_the_others_of_the_sweep(live, monkeypatch):
    live.save("Second")
    first = plan(live).json()["id"]
    _ = plan(live)
    due()
    real = services.publishing._run

    def run(planned):
        if str(planned.pk) == first:
            live.editor.delete(live.path(f"schedules/{first}"))
        return real(planned)

    monkeypatch.setattr(services.publishing, "_run", run)
    publishing.publish_scheduled(now=timezone.now())

    assert shown(live)[0] == "Second"


def test_a_draft_takes_no_address_that_a_live_post_is_known_by(live, visitor):
    post = write(live, slug="known", published_at=PAST)
    change(live, post, slug="moved")
    assert write(live, who="author", title="Known")["slug"] == "known-2"
    live.author.post(live.path("posts"), {"title": "x", "slug": "known"})

    assert visitor.ask("/blog/known", live.host)[1]["Location"] == "/blog/moved"


def test_nothing_is_done_to_what_was_deleted_meanwhile(live):
    post = write(live)
    stale = {"actor": services.publishing.SYSTEM, "role": Access.Role.OWNER}
    with tenancy.context(tenancy.SYSTEM):
        row = services.posts.Post.objects.select_related("site").get(pk=post["id"])
        site = Site.objects.get(pk=live.site.pk)
    live.editor.delete(live.path(f"posts/{post['id']}"), if_match="*")
    live.owner.delete(live.path(), if_match="*")

    any_version = preconditions.IfMatch(None)
    with tenancy.context(tenancy.SYSTEM):
        with pytest.raises(Site.DoesNotExist):
            posts.change_post(row, {"title": "x"}, if_match=any_version, now=timezone.now(), **stale)
        with pytest.raises(Site.DoesNotExist):
            publishing.publish_site(site, actor=stale["actor"], if_match=any_version)


@pytest.mark.commits
def test_a_purge_leaves_what_was_restored_since(live, monkeypatch):
    post = write(live)
    live.editor.delete(live.path(f"posts/{post['id']}"), if_match="*")
    tomorrow = timezone.now() + timedelta(days=1)
    real = services.posts.transaction.atomic
    restored = []

    def atomic(*options):
        if not restored:
            restored.append(True)
            with ThreadPoolExecutor(1) as pool:
                assert (
                    pool.submit(live.editor.post, live.path(f"posts/{post['id']}/restore"))
                    .result()
                    .status_code
                    == 200
                )
                pool.submit(connections.close_all)
        return real(*options)

    monkeypatch.setattr(services.posts.transaction, "atomic", atomic)
    with tenancy.context(tenancy.SYSTEM):
        assert posts.purge_posts(tomorrow) == 0
    assert live.editor.get(live.path(f"posts/{post['id']}")).status_code == 200


def test_a_draft_without_pages_is_previewed_as_one_without_pages(team, visitor):
    assert (
        team.author.put(team.path("blueprint"), {"settings": {"title": "Bare"}}, if_match="*").status_code
        == 200
    )
    address = path_of(make(team))
    with tenancy.context(tenancy.SYSTEM):
        services.drafts.Draft.objects.filter(site=team.site).update(
            blueprint={"settings": {"title": "Older"}}
        )

    for inner in ("", "sitemap.xml", "favicon.svg", "nowhere"):
        assert visitor.ask(address + inner, team.host)[0] in {200, 404}


@pytest.mark.parametrize("name", ["Ring\n\n0900", "a\u202eb", "a\u2028b", "\x07", "a\x85b"])
def test_a_name_holds_only_what_can_be_seen(team, name):
    assert team.owner.patch(team.path(), {"name": name}, if_match="*").status_code == 400


@pytest.mark.parametrize("name", ["evil。com", "a.b", "x@y", "http://x", "Call: 1", "win/now"])
def test_a_name_that_a_mail_program_may_take_for_a_link_stays_out_of_mails(team, name):
    with tenancy.context(tenancy.SYSTEM):
        Site.objects.filter(pk=team.site.pk).update(name=name)
    team.owner.post(team.path("invitations"), {"email": "guest@example.com", "role": "viewer"})

    text = deliver_and_read_mails("guest@example.com")[0]
    assert name not in text
    assert team.host in text


@pytest.mark.commits
def test_invitations_from_two_sites_at_once_stay_within_the_bound(team, monkeypatch):
    monkeypatch.setattr(services.members, "INVITATIONS_A_DAY", 4)
    assert INVITATIONS_A_DAY > 4
    sites = [team.site, SiteFactory(owner=team.owner.user)]

    def invite(number):
        try:
            body = {"email": f"guest{number}@example.com", "role": "viewer"}
            return team.owner.post(f"sites/{sites[number % 2].pk}/invitations", body).status_code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as pool:
        codes = sorted(pool.map(invite, range(12)))
    assert codes == [201] * 4 + [429] * 8


def test_pages_of_any_origin_can_read_every_refusal(live):
    address = f"/api/v1/public/sites/{live.host}"
    bad = Client().get(address, headers={"Authorization": "Bearer nonsense"})
    preflights = [Client().options(address, headers={"Origin": "https://x.example"}) for _ in range(5)]

    assert (bad.status_code, bad["Access-Control-Allow-Origin"]) == (401, "*")
    assert {(answer.status_code, answer["Access-Control-Allow-Origin"]) for answer in preflights} == {
        (204, "*")
    }
    assert "RateLimit-Remaining" not in preflights[0]  # a preflight is not counted


def test_links_that_end_with_a_members_rights_are_in_the_trail(live):
    make(live, who="editor")
    plan(live)
    live.owner.delete(live.path(f"members/{live.editor.user.pk}"))

    assert events(live, "preview.revoked", "site.schedule_cancelled") == [
        "site.schedule_cancelled",
        "preview.revoked",
    ]
    with tenancy.context(tenancy.SYSTEM):
        assert Preview.objects.count() == 0
