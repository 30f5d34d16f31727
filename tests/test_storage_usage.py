"""The stored bytes of an owner over all apps: exact whatever happens, also under parallel writers."""

import os
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import hypothesis
import pytest
from django.conf import settings as django_settings
from django.core.management import call_command
from django.db import connection
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from accounts.services import erasure, users
from accounts.tests.factories import UserFactory
from audit.actors import SYSTEM
from conftest import sign_in
from core import lifecycle, quotas, tenancy
from core.http.preconditions import ANY_VERSION
from core.migration_sql import run_sql_file
from core.models import StorageUsage
from sites.models import Draft, Post, Site
from sites.services import drafts
from sites.tests.factories import SiteFactory
from tests.storage_helpers import add_member, assert_exact, long_document, run_in_threads, used_by
from vault.tests.api_helpers import create_item, create_vault, random_envelope

pytestmark = pytest.mark.django_db
MAX_EXAMPLES = 200 if os.environ.get("SOAK") else 5
MIB = 1024 * 1024


def test_usage_shows_the_bytes_of_each_kind(api, other):
    site_id = api.post("sites", {"name": "A", "subdomain": "aaa"}).json()["id"]
    size = api.get("auth/me/usage").json()["parts"]["drafts"]
    api.post(f"sites/{site_id}/posts", {"title": "Bücher", "excerpt": "abc"})
    api.put(f"sites/{site_id}/blueprint", long_document(), if_match="*")
    api.post(f"sites/{site_id}/publish")
    create_vault(api, **random_envelope(size=100))
    with tenancy.context(tenancy.SYSTEM):
        draft_size = Draft.objects.get(site_id=site_id).size

    usage = api.get("auth/me/usage").json()

    assert usage["parts"] == {
        "drafts": draft_size,
        "revisions": size + draft_size,
        "releases": draft_size,
        "posts": len("Bücher".encode()) + len("abc") + len("[]"),
        "vault": 100,
    }
    assert usage["used"] == sum(usage["parts"].values())
    assert usage["allowed"] == 500 * MIB
    assert other.get("auth/me/usage").json()["used"] == 0
    assert_exact(api.user, other.user)


@pytest.mark.commits
def test_usage_is_exact_when_sites_are_saved_and_transferred_at_the_same_time(api, other):
    site = SiteFactory(owner=api.user)
    add_member(site, other.user)

    def save_or_transfer(number):
        client = (api, other)[number % 2]
        if number % 4 > 1:
            recipient = (other, api)[number % 2]
            body = {"member": str(recipient.user.pk)}
            return client.post(f"sites/{site.pk}/transfer", body).status_code
        return client.put(
            f"sites/{site.pk}/blueprint", long_document(100 * number + 100), if_match="*"
        ).status_code

    statuses = run_in_threads(save_or_transfer, range(40))

    assert statuses.count(200) > 20, statuses
    assert_exact(api.user, other.user)


@pytest.mark.commits
def test_bytes_that_are_deleted_during_a_transfer_are_given_back_to_the_new_owner(api, other):
    site = SiteFactory(owner=api.user)
    SiteFactory(owner=api.user)
    api.post(f"sites/{site.pk}/posts", {"title": "A post"})

    def delete_posts(_):
        with tenancy.context(tenancy.SYSTEM):
            Post.objects.filter(site=site).delete()

    with ThreadPoolExecutor(1) as pool:
        with tenancy.context(tenancy.SYSTEM):
            Site.objects.filter(pk=site.pk).update(owner=other.user)
            deletion = pool.submit(run_in_threads, delete_posts, [None])
            wait_for_a_blocked_query()
        deletion.result()

    assert quotas.usage_of(other.user.pk).parts["posts"] == 0
    assert_exact(api.user, other.user)


def wait_for_a_blocked_query():
    with connection.cursor() as cursor:
        for _ in range(500):
            cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
            if cursor.fetchone()[0]:
                return
            time.sleep(0.01)
    raise AssertionError("no query waits for a lock")


def test_purging_thinning_and_erasing_give_bytes_back(api, other):
    sites = [SiteFactory(owner=api.user, blueprint=long_document()) for _ in range(3)]
    post = api.post(f"sites/{sites[0].pk}/posts", {"title": "A post"}).json()["id"]
    vault = create_vault(api)
    create_item(api, vault)
    api.put(f"sites/{sites[0].pk}/blueprint", long_document(), if_match="*")
    SiteFactory(owner=other.user)
    before = quotas.usage_of(api.user.pk).parts

    api.delete(f"sites/{sites[0].pk}/posts/{post}", if_match="*")
    api.delete(f"sites/{sites[1].pk}", if_match="*")
    assert quotas.usage_of(api.user.pk).parts == before, "what can be restored counts"
    with tenancy.context(tenancy.SYSTEM):
        lifecycle.purge_expired(before=timezone.now() + timedelta(minutes=1))
    drafts.thin_revisions(now=timezone.now() + timedelta(days=4000))

    after = quotas.usage_of(api.user.pk).parts
    assert after["posts"] == 0
    assert after["drafts"] * 3 == before["drafts"] * 2
    assert after["revisions"] * 2 == before["revisions"]
    assert_exact(api.user, other.user)
    users.delete_user(api.user.pk, actor=SYSTEM, now=timezone.now(), if_match=ANY_VERSION)
    with tenancy.context(tenancy.SYSTEM):
        erasure.erase_person(api.user.pk, actor=SYSTEM, now=timezone.now())
    assert list(StorageUsage.objects.values_list("owner_id", flat=True)) == [other.user.pk]


def test_recount_usage_corrects_wrong_numbers(api, other, capsys):
    SiteFactory(owner=api.user)
    used = used_by(api.user)
    StorageUsage.objects.filter(owner=api.user).update(used=1, parts={"posts": 1})

    call_command("recount_usage", dry_run=True)
    assert used_by(api.user) == 1
    call_command("recount_usage")

    assert capsys.readouterr().out.count(f"user={api.user.pk}") == 2
    assert used_by(api.user) == used
    assert_exact(api.user, other.user)


@pytest.mark.parametrize("app", ["sites", "vault"])
def test_the_migrations_count_what_is_stored_already(api, app):
    SiteFactory(owner=api.user)
    create_vault(api)
    before = quotas.usage_of(api.user.pk)
    operation = run_sql_file(Path(django_settings.BASE_DIR) / app / "migrations/sql/stored_bytes")

    with tenancy.context(tenancy.SYSTEM), connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute(operation.reverse_sql)
        assert 0 < used_by(api.user) < before.used
        cursor.execute(operation.sql)

    assert quotas.usage_of(api.user.pk) == before


class Scene:
    """Two users, each with a site on which the other is an editor, and a vault. Operations change them."""

    def __init__(self):
        self.clients = [sign_in(UserFactory()) for _ in range(2)]
        self.sites = [SiteFactory(owner=client.user) for client in self.clients]
        self.vaults = [create_vault(client) for client in self.clients]
        for site, member in zip(self.sites, reversed(self.clients), strict=True):
            add_member(site, member.user)
        self.numbers = iter(range(1000))

    def run(self, operation, number):
        index = number % 2
        getattr(self, operation)(self.clients[number // 2 % 2], f"sites/{self.sites[index].pk}", number)

    def save(self, client, path, number):
        client.put(f"{path}/blueprint", long_document(100 * (number + 1)), if_match="*")

    def write_post(self, client, path, number):
        body = {"title": f"Post {next(self.numbers)}", "excerpt": "ü" * number}
        posts = client.post(f"{path}/posts", body) and client.get(f"{path}/posts").json()["results"]
        client.patch(f"{path}/posts/{posts[-1]['id']}", {"excerpt": "y" * number}, if_match="*")

    def publish(self, client, path, number):
        client.post(f"{path}/publish")

    def transfer(self, client, path, number):
        other = self.clients[0] if client is self.clients[1] else self.clients[1]
        client.post(f"{path}/transfer", {"member": str(other.user.pk)})

    def change_vault(self, client, path, number):
        vault = self.vaults[self.clients.index(client)]
        create_item(client, vault, **random_envelope(size=40 + number))
        client.put(f"vault/{vault}", random_envelope(2, size=60 + number), if_match=1)

    def delete_and_purge(self, client, path, number):
        if posts := client.get(f"{path}/posts").json()["results"]:
            client.delete(f"{path}/posts/{posts[0]['id']}", if_match="*")
        with tenancy.context(tenancy.SYSTEM):
            lifecycle.purge_expired(before=timezone.now() + timedelta(minutes=1))

    def thin(self, client, path, number):
        drafts.thin_revisions(now=timezone.now() + timedelta(days=30 * number))

    def fail_to_create(self, client, path, number):
        client.post("sites", {"name": "Taken", "subdomain": self.sites[0].subdomain})


OPERATIONS = [name for name in vars(Scene) if not name.startswith("_") and name != "run"]


def test_usage_equals_the_stored_rows_after_random_operations(db):
    @hypothesis.settings(max_examples=MAX_EXAMPLES)
    @given(st.lists(st.tuples(st.sampled_from(OPERATIONS), st.integers(0, 30)), min_size=5, max_size=12))
    def run(operations):
        scene = Scene()
        for name, number in operations:
            scene.run(name, number)
        assert_exact(*(client.user for client in scene.clients))

    run()
