"""Former subdomains: who may take them, and for how long they are reserved."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection, connections
from django.utils import timezone

from audit.actors import SYSTEM
from core import tenancy
from core.http.preconditions import ANY_VERSION
from core.tasks import purge_deleted
from sites.models import Access, Site, SubdomainReservation
from sites.services import members, reservations
from sites.services import sites as sites_services
from sites.tasks import delete_expired
from sites.tests.factories import SiteFactory
from tests.stack import wait_until

pytestmark = pytest.mark.django_db
SITE = {"name": "Site", "subdomain": "bakery"}


@pytest.fixture
def moved(api):
    """The path of a site that was at `bakery` before."""
    site = SiteFactory(owner=api.user, subdomain="bakery")
    path = f"sites/{site.pk}"
    assert api.patch(path, {"subdomain": "bread"}, if_match="*").status_code == 200
    return path


def make_reservations_older(days):
    with tenancy.context(tenancy.SYSTEM):
        SubdomainReservation.objects.update(released_at=timezone.now() - timedelta(days=days))


def test_change_site_reserves_its_former_subdomain(moved, other):
    of_another_site = other.post("sites", {**SITE, "subdomain": "bread"})
    created = other.post("sites", SITE)
    own = SiteFactory(owner=other.user)
    changed = other.patch(f"sites/{own.pk}", {"subdomain": "bakery"}, if_match="*")

    problems = [{**response.json(), "instance": None} for response in (of_another_site, created, changed)]
    assert (created.status_code, problems[0]["code"]) == (409, "subdomain_taken")
    assert problems == [problems[0]] * 3
    with tenancy.context(tenancy.SYSTEM):
        assert Site.objects.get(pk=own.pk).subdomain == own.subdomain


def test_change_site_takes_its_former_subdomain_back_at_once(moved, api, other):
    assert api.patch(moved, {"subdomain": "bakery"}, if_match="*").status_code == 200

    assert other.post("sites", {**SITE, "subdomain": "bread"}).status_code == 409
    assert other.post("sites", SITE).status_code == 409


def test_change_site_gives_a_former_subdomain_to_another_site_of_the_owner(moved, api):
    restored = SiteFactory(owner=api.user)

    assert api.patch(f"sites/{restored.pk}", {"subdomain": "bakery"}, if_match="*").status_code == 200


def test_transfer_site_gives_the_reservations_to_the_new_owner(moved, api, other):
    with tenancy.context(tenancy.SYSTEM):
        site = Site.objects.get(subdomain="bread")
        Access.objects.create(site=site, user=other.user, role="editor")
        members.transfer_site(site, other.user.pk, actor=SYSTEM)

    assert api.post("sites", SITE).json()["code"] == "subdomain_taken"
    assert other.post("sites", SITE).status_code == 201


def test_delete_expired_ends_reservations_after_30_days(moved, other):
    make_reservations_older(29)
    delete_expired()
    assert other.post("sites", SITE).status_code == 409

    make_reservations_older(31)
    with tenancy.context(tenancy.SYSTEM):
        assert reservations.delete_expired_reservations(before=timezone.now() - timedelta(days=30)) == 1
    assert other.post("sites", SITE).status_code == 201


def test_delete_expired_deletes_reservations(moved):
    make_reservations_older(31)

    delete_expired()

    with tenancy.context(tenancy.SYSTEM):
        assert SubdomainReservation.objects.count() == 0


def test_purge_sites_reserves_their_subdomains(api, other):
    site = SiteFactory(owner=api.user, subdomain="bakery")
    with tenancy.context(tenancy.SYSTEM):
        Site.objects.filter(pk=site.pk).update(deleted_at=timezone.now() - timedelta(days=31))
    purge_deleted()

    assert other.post("sites", SITE).json()["code"] == "subdomain_taken"
    assert api.post("sites", SITE).status_code == 201


def test_reserve_subdomain_keeps_the_newest_reservations_of_an_owner(moved, api, other, monkeypatch):
    monkeypatch.setattr(reservations, "MAX_RESERVATIONS", 2)
    for name in ("cake", "pastry"):
        api.patch(moved, {"subdomain": name}, if_match="*")

    assert other.post("sites", {**SITE, "subdomain": "bread"}).status_code == 409
    assert other.post("sites", SITE).status_code == 201


def test_reservations_do_not_store_names(moved):
    with tenancy.context(tenancy.SYSTEM):
        assert "bakery" not in str(list(SubdomainReservation.objects.values()))


@pytest.mark.commits
def test_change_site_reserves_the_name_before_a_waiting_request_gets_it(api, other):
    site = SiteFactory(owner=api.user, subdomain="bakery")

    def create():
        try:
            return other.post("sites", SITE).json()["code"]
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as pool:
        with tenancy.context(tenancy.SYSTEM):
            sites_services.change_site(site, {"subdomain": "bread"}, actor=SYSTEM, if_match=ANY_VERSION)
            waiting = pool.submit(create)
            wait_until(is_a_lock_awaited, seconds=10)
        assert waiting.result() == "subdomain_taken"


def is_a_lock_awaited():
    with connection.cursor() as cursor:
        cursor.execute("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)")
        return cursor.fetchone()[0]
