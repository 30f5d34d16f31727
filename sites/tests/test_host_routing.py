"""Routes of hosts: how soon every process follows a change of a site."""

import time

import pytest
from django.utils import timezone

from accounts.services import users
from audit.actors import SYSTEM
from core import tenancy
from core.http.preconditions import ANY_VERSION
from core.storage import redis
from sites import change_stream
from sites.services import publishing, sites
from sites.serving import host_routing
from sites.tests.visitor import publish
from tests.stack import wait_until

pytestmark = pytest.mark.django_db


def close_account(site):
    users.delete_user(site.owner_id, actor=SYSTEM, now=timezone.now(), if_match=ANY_VERSION)


def start_reading_the_stream(visitor, host):
    """Send requests until the process of `visitor` has its position in the stream."""
    assert visitor.request("/", host)[0] == 200
    time.sleep(host_routing.STREAM_READ_INTERVAL_SECONDS + 0.05)
    assert visitor.request("/", host)[0] == 200


@pytest.mark.parametrize(
    "change",
    [
        lambda site: publishing.unpublish_site(site, actor=SYSTEM),
        lambda site: sites.delete_site(site, actor=SYSTEM, now=timezone.now(), if_match=ANY_VERSION),
        lambda site: sites.change_site(site, {"subdomain": "elsewhere"}, actor=SYSTEM, if_match=ANY_VERSION),
        close_account,
    ],
    ids=["unpublished", "deleted", "subdomain changed", "account closed"],
)
def test_routes_hide_a_removed_site_within_two_seconds(visitor, change):
    site, host = publish()
    assert visitor.request("/", host)[0] == 200

    with tenancy.context(tenancy.SYSTEM):
        change(site)

    assert wait_until(lambda: visitor.request("/", host)[0] == 404, seconds=2)


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
    ids=["published", "restored", "subdomain changed back", "account restored"],
)
def test_routes_show_a_new_site_within_two_seconds(visitor, before, change):
    site, host = publish(subdomain="come-back")
    with tenancy.context(tenancy.SYSTEM):
        before(site)
    assert visitor.request("/", host)[0] == 404

    with tenancy.context(tenancy.SYSTEM):
        change(site)

    assert wait_until(lambda: visitor.request("/", host)[0] == 200, seconds=2)


def test_routes_follow_a_change_whose_stream_was_deleted(visitor):
    site, host = publish()
    start_reading_the_stream(visitor, host)

    with tenancy.context(tenancy.SYSTEM):
        publishing.unpublish_site(site, actor=SYSTEM)
    redis.client().delete(change_stream.STREAM)

    assert wait_until(lambda: visitor.request("/", host)[0] == 404, seconds=2)


def test_routes_follow_a_change_behind_thousands_of_stream_entries(visitor):
    site, host = publish()
    start_reading_the_stream(visitor, host)
    with redis.client().pipeline(transaction=False) as pipe:
        for number in range(host_routing.MAX_ENTRIES_PER_READ * 4):
            pipe.xadd(change_stream.STREAM, {"host": f"other-{number}.localhost"})
        pipe.execute()

    with tenancy.context(tenancy.SYSTEM):
        publishing.unpublish_site(site, actor=SYSTEM)

    assert wait_until(lambda: visitor.request("/", host)[0] == 404, seconds=2)


def test_routes_ask_postgresql_again_after_an_idle_time(visitor, monkeypatch):
    site, host = publish()
    start_reading_the_stream(visitor, host)
    with tenancy.context(tenancy.SYSTEM):
        publishing.unpublish_site(site, actor=SYSTEM)
    redis.client().xadd(change_stream.STREAM, {"host": "other.localhost"}, maxlen=1, approximate=False)

    monkeypatch.setattr(host_routing, "MAX_IDLE_SECONDS", 1.0)
    time.sleep(1.1)

    assert visitor.request("/", host)[0] == 404


def test_routes_do_not_cache_a_route_that_changed_while_it_was_loaded(monkeypatch):
    monkeypatch.setattr(host_routing, "STREAM_READ_INTERVAL_SECONDS", 0.0)
    site, host = publish()
    actions = [lambda: None]

    class RoutesWithDelay(host_routing.Routes):
        """Calls an action between the query and the caching of its result."""

        def _query(self, subdomain):
            route = host_routing.Routes._query(subdomain)
            actions.pop()()
            return route

    def unpublish_and_announce():
        with tenancy.context(tenancy.SYSTEM):
            publishing.unpublish_site(site, actor=SYSTEM)
        routes._read_stream_if_due()  # as another thread of this process does

    routes = RoutesWithDelay()
    routes.get_route(site.subdomain, "unknown.localhost")
    actions[:] = [lambda: None, unpublish_and_announce]

    assert routes.get_route(site.subdomain, host).release_id is not None
    assert routes.get_route(site.subdomain, host).release_id is None
