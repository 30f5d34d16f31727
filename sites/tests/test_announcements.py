"""How a change reaches every process, and when."""

import time

import pytest
from django.db import transaction
from django.utils import timezone
from django_redis import get_redis_connection

from accounts.services import users
from audit.actors import SYSTEM
from core import tenancy
from core.http.preconditions import ANY_VERSION
from core.storage import redis
from sites.models import Announcement
from sites.services import publishing, sites
from sites.serving import change_stream, host_routing, rendering
from sites.tests.visitor import Visitor, publish
from tests.stack import wait_until

pytestmark = pytest.mark.django_db


def close_account(site):
    users.delete_user(site.owner_id, actor=SYSTEM, now=timezone.now(), if_match=ANY_VERSION)


def follow(visitor, host):
    """Ask until the process reads the stream from where it stands."""
    assert visitor.ask("/", host)[0] == 200
    time.sleep(host_routing.READ_SECONDS + 0.05)
    assert visitor.ask("/", host)[0] == 200


@pytest.mark.parametrize(
    "change",
    [
        lambda site: publishing.unpublish_site(site, actor=SYSTEM),
        lambda site: sites.delete_site(site, actor=SYSTEM, now=timezone.now(), if_match=ANY_VERSION),
        lambda site: sites.change_site(site, {"subdomain": "elsewhere"}, actor=SYSTEM, if_match=ANY_VERSION),
        close_account,
    ],
    ids=["unpublished", "hidden", "moved away", "account closed"],
)
def test_a_process_that_showed_a_site_stops_within_two_seconds(visitor, change):
    site, host = publish()
    assert visitor.ask("/", host)[0] == 200

    with tenancy.context(tenancy.SYSTEM):
        change(site)

    assert wait_until(lambda: visitor.ask("/", host)[0] == 404, seconds=2)


@pytest.mark.parametrize(
    ("before", "change"),
    [
        (
            lambda site: publishing.unpublish_site(site, actor=SYSTEM),
            lambda site: publishing.publish_site(site, actor=SYSTEM, if_match=ANY_VERSION),
        ),
        (
            lambda site: sites.delete_site(site, actor=SYSTEM, now=timezone.now(), if_match=ANY_VERSION),
            lambda site: sites.restore_site(site, actor=SYSTEM),
        ),
        (
            lambda site: sites.change_site(
                site, {"subdomain": "elsewhere"}, actor=SYSTEM, if_match=ANY_VERSION
            ),
            lambda site: sites.change_site(
                site, {"subdomain": "come-back"}, actor=SYSTEM, if_match=ANY_VERSION
            ),
        ),
        (close_account, lambda site: users.restore_user(site.owner_id, actor=SYSTEM, now=timezone.now())),
    ],
    ids=["published", "restored", "moved here", "account restored"],
)
def test_a_process_that_knew_of_no_site_shows_it_within_two_seconds(visitor, before, change):
    site, host = publish(subdomain="come-back")
    with tenancy.context(tenancy.SYSTEM):
        before(site)
    assert visitor.ask("/", host)[0] == 404

    with tenancy.context(tenancy.SYSTEM):
        change(site)

    wait_until(lambda: visitor.ask("/", host)[0] == 200, seconds=2)


def test_a_change_whose_announcement_went_with_the_stream_shows_within_two_seconds(visitor):
    site, host = publish()
    follow(visitor, host)

    with tenancy.context(tenancy.SYSTEM):
        publishing.unpublish_site(site, actor=SYSTEM)
    redis.client().delete(change_stream.STREAM)

    assert wait_until(lambda: visitor.ask("/", host)[0] == 404, seconds=2)


def test_a_change_behind_thousands_of_others_shows_within_two_seconds(visitor):
    site, host = publish()
    follow(visitor, host)
    with redis.client().pipeline(transaction=False) as pipe:
        for number in range(host_routing.BATCH * 4):
            pipe.xadd(change_stream.STREAM, {"host": f"other-{number}.localhost"})
        pipe.execute()

    with tenancy.context(tenancy.SYSTEM):
        publishing.unpublish_site(site, actor=SYSTEM)

    assert wait_until(lambda: visitor.ask("/", host)[0] == 404, seconds=2)


def test_a_process_that_was_idle_asks_the_database_again(visitor, monkeypatch):
    site, host = publish()
    follow(visitor, host)
    with tenancy.context(tenancy.SYSTEM):
        publishing.unpublish_site(site, actor=SYSTEM)
    redis.client().xadd(change_stream.STREAM, {"host": "other.localhost"}, maxlen=1, approximate=False)

    monkeypatch.setattr(host_routing, "IDLE_SECONDS", 1.0)
    time.sleep(1.1)

    assert visitor.ask("/", host)[0] == 404


def test_what_was_read_before_an_announcement_is_not_kept_after_it(monkeypatch):
    monkeypatch.setattr(host_routing, "READ_SECONDS", 0.0)
    site, host = publish()
    between = [lambda: None]

    class Slow(host_routing.Routes):
        """Something happens between the answer of PostgreSQL and keeping it."""

        def _query(self, subdomain):
            found = host_routing.Routes._query(subdomain)
            between.pop()()
            return found

    def unpublish_and_announce():
        with tenancy.context(tenancy.SYSTEM):
            publishing.unpublish_site(site, actor=SYSTEM)
        routes._refresh()  # another thread of this process reads the stream

    routes = Slow()
    routes.find(site.subdomain, "unknown.localhost")
    between[:] = [lambda: None, unpublish_and_announce]

    assert routes.find(site.subdomain, host).release_id is not None
    assert routes.find(site.subdomain, host).release_id is None


@pytest.mark.commits
def test_an_announcement_waits_for_its_commit_and_leaves_no_row(visitor):
    site, _ = publish()
    before = redis.client().xlen(change_stream.STREAM)

    with tenancy.context(tenancy.SYSTEM):
        publishing.unpublish_site(site, actor=SYSTEM)
        transaction.set_rollback(True)

    with tenancy.context(tenancy.SYSTEM):
        assert (redis.client().xlen(change_stream.STREAM), Announcement.objects.count()) == (before, 0)


def test_pages_kept_by_another_version_of_the_renderer_are_not_shown(monkeypatch):
    _, host = publish()
    before = Visitor().ask("/", host)
    client = get_redis_connection("default")
    for key in client.scan_iter("bytes:*"):
        client.set(key, client.get(key).replace(b"Welcome", b"Outdated"))
    assert b"Outdated" in Visitor().ask("/", host)[2]

    monkeypatch.setattr(rendering, "renderer_version", lambda: "another")

    assert Visitor().ask("/", host) == before
