"""Cached responses: after every operation they are what a fresh request answers."""

import pytest

from conftest import sign_in
from core import tenancy
from core.http.routes import cached_routes
from core.storage import redis
from sites.models import Access
from tests.operations import BROWSER_HEADERS, MUTATING_OPERATIONS, prepare_operation
from tests.world import new_world

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("issuer")]


def cached_addresses(world, post):
    """An address of every cached route, for the site of the world."""
    values = {"pk": str(world.site.pk), "post_id": post, "block": "home-h"}
    addresses = []
    for pattern in cached_routes:
        address = pattern.pattern
        for name in pattern.groupindex:
            start = address.index(f"(?P<{name}>")
            address = address[:start] + values[name] + address[address.index(")", start) + 1 :]
        assert pattern.fullmatch(address)
        addresses.append(address)
    return addresses


def answers(readers, addresses):
    """What each reader gets at each address."""
    return {
        (number, address): (response.status_code, response.content)
        for number, reader in enumerate(readers)
        for address in addresses
        for response in [reader.get(address)]
    }


def delete_cached_responses():
    for key in redis.client().keys("body:*"):
        redis.client().delete(key)


@pytest.mark.parametrize(("method", "path"), MUTATING_OPERATIONS, ids=lambda part: part)
def test_cached_responses_are_fresh_after_every_operation(method, path, password_hash):
    world = new_world(password_hash)
    post = world.create_on_site("posts", {"title": "A post", "slug": "cached-post"})
    address, body = prepare_operation(method, path, world)
    with tenancy.context(tenancy.SYSTEM):
        Access.objects.get_or_create(site=world.site, user=world.other_user, defaults={"role": "viewer"})
    readers = [world.api, sign_in(world.other_user)]
    addresses = cached_addresses(world, post)
    answers(readers[:1], ["config"])  # the first request writes the tombstones
    before = answers(readers, addresses)
    stored = redis.client().keys("body:*")
    assert len(stored) == sum(status == 200 for status, _ in before.values())

    response = world.api.call(method.upper(), address, body, if_match="*", **BROWSER_HEADERS)

    assert 200 <= response.status_code < 300, response.content
    assert not redis.is_breaker_open(), "nothing would be cached, and nothing compared"
    after = answers(readers, addresses)
    delete_cached_responses()
    assert after == answers(readers, addresses)
