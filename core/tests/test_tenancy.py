"""Tenancy contexts and row-level security: what each context sees and may change."""

from uuid import uuid4

import pytest
from django.core.management import call_command
from django.db import DatabaseError, IntegrityError, connection, transaction
from django.db.models.signals import post_migrate
from django.utils import timezone

from accounts.tests.factories import UserFactory
from core import tenancy
from sites.models import Access, Draft, Release, Site
from sites.tests.factories import SiteFactory

pytestmark = pytest.mark.django_db

# Tables with a site, owner or user column and without row-level security. Only `visible_to(user)` protects
# them (DESIGN 4.4).
TABLES_WITHOUT_POLICY = {
    # Only the SQL modules of analytics.reports read events and their sums; their functions take one site.
    # The writers of events write for all sites.
    "analytics_event",
    "analytics_dirty",
    "analytics_salt",
    "analytics_term",
    "analytics_hour",
    "analytics_day",
    "analytics_drop",
    "analytics_directevent",
    "sites_access",  # holds ids only; the policies read it
    "backups_siterestore",  # holds ids only, and is read through its site
    "core_storageusage",  # holds numbers only; the writes of all members of a site change its owner's row
    "accounts_session",
    "accounts_apikey",
    "accounts_dataexport",
    "accounts_identity",
    "accounts_emailproof",
    "accounts_passkey",
    "accounts_recoverycode",
    "accounts_totp",
    "accounts_user_roles",
    "django_admin_log",
}


def visible_site_ids():
    return set(Site.objects.values_list("pk", flat=True))


def test_context_is_needed_to_read_and_to_write_rows():
    site = SiteFactory()

    assert (visible_site_ids(), Draft.objects.count()) == (set(), 0)
    with pytest.raises(DatabaseError, match="row-level security"), transaction.atomic():
        Site.objects.create(owner=site.owner, name="x", subdomain="no-context")
    assert Site.objects.filter(pk=site.pk).update(name="changed") == 0
    assert Site.objects.filter(pk=site.pk).delete()[0] == 0


def test_user_context_sees_and_changes_the_sites_of_the_user_only():
    own = SiteFactory()
    foreign = SiteFactory()

    with tenancy.context(tenancy.user_context(own.owner_id)):
        assert visible_site_ids() == {own.pk}
        assert set(Draft.objects.values_list("pk", flat=True)) == {own.pk}
        assert Site.objects.filter(pk=foreign.pk).update(name="stolen") == 0
        with pytest.raises(DatabaseError, match="row-level security"), transaction.atomic():
            Draft.objects.filter(pk=own.pk).update(site_id=foreign.pk)
        with pytest.raises(DatabaseError, match="row-level security"), transaction.atomic():
            Release.objects.create(site=foreign, number=1, blueprint={})


def test_context_restores_the_outer_context_after_a_nested_one():
    first = SiteFactory()
    second = SiteFactory()

    with tenancy.context(tenancy.user_context(first.owner_id)):
        with tenancy.context(tenancy.user_context(second.owner_id)):
            assert visible_site_ids() == {second.pk}
            with tenancy.context(tenancy.SYSTEM):
                assert visible_site_ids() == {first.pk, second.pk}
            assert visible_site_ids() == {second.pk}
        assert visible_site_ids() == {first.pk}
    assert visible_site_ids() == set()


def test_context_restores_the_outer_context_after_an_error():
    first = SiteFactory()
    second = SiteFactory()

    with tenancy.context(tenancy.user_context(first.owner_id)):
        with pytest.raises(IntegrityError), tenancy.context(tenancy.SYSTEM):
            Site.objects.create(owner=second.owner, name="x", subdomain=first.subdomain)
        assert visible_site_ids() == {first.pk}
        with pytest.raises(RuntimeError), tenancy.context(tenancy.user_context(second.owner_id)):
            raise RuntimeError
        assert visible_site_ids() == {first.pk}


@pytest.mark.django_db
@pytest.mark.commits
def test_context_is_empty_after_its_transaction():
    site = SiteFactory()
    with tenancy.context(tenancy.user_context(site.owner_id)):
        assert visible_site_ids() == {site.pk}

    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('app.context', true)")
        assert cursor.fetchone() == ("",)
    assert visible_site_ids() == set()


@pytest.mark.django_db
@pytest.mark.commits
def test_context_is_empty_after_an_error():
    site = SiteFactory()

    with pytest.raises(RuntimeError), tenancy.context(tenancy.SYSTEM):
        raise RuntimeError

    assert visible_site_ids() == set()
    assert site.pk


@pytest.mark.parametrize("value", ["user:", "user:x", "user:' OR true --", "SYSTEM", "system ", "admin"])
def test_context_with_an_unknown_value_sees_no_rows(value):
    SiteFactory()

    with tenancy.context(value):
        try:
            assert visible_site_ids() == set()
        except DatabaseError:
            transaction.set_rollback(True)


def test_public_context_sees_live_sites_and_their_live_release_only():
    draft = SiteFactory()
    live = SiteFactory()
    deleted = SiteFactory()
    with tenancy.context(tenancy.SYSTEM):
        earlier_release = Release.objects.create(site=live, number=1, blueprint={})
        live_release = Release.objects.create(site=live, number=2, blueprint={})
        Site.objects.filter(pk=live.pk).update(status="live", live_release=live_release)
        deleted_release = Release.objects.create(site=deleted, number=1, blueprint={})
        Site.objects.filter(pk=deleted.pk).update(
            status="live", live_release=deleted_release, deleted_at="2026-01-01T00:00Z"
        )

    with tenancy.context(tenancy.PUBLIC):
        assert visible_site_ids() == {live.pk}
        assert set(Release.objects.values_list("pk", flat=True)) == {live_release.pk}
        assert Draft.objects.count() == 0
        assert Site.objects.filter(pk=live.pk).update(name="defaced") == 0
    assert draft.pk != earlier_release.pk


def test_isolate_protects_every_table_of_customer_content():
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT c.relname, c.relrowsecurity AND c.relforcerowsecurity
                AND EXISTS (SELECT 1 FROM pg_policy p WHERE p.polrelid = c.oid)
            FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = 'public'
            WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition
                AND c.relname NOT LIKE 'audit\\_%'
                AND (c.relname LIKE 'sites\\_%' OR EXISTS (
                    SELECT 1 FROM pg_attribute a
                    WHERE a.attrelid = c.oid AND NOT a.attisdropped
                        AND a.attname IN ('site_id', 'site_number', 'owner_id', 'user_id', 'author_id')))
            """
        )
        has_policy = dict(cursor.fetchall())

    assert {table for table, protected in has_policy.items() if not protected} == TABLES_WITHOUT_POLICY
    assert {"sites_site", "sites_draft", "sites_release", "sites_announcement"} <= has_policy.keys()


def test_release_is_immutable():
    site = SiteFactory()

    with tenancy.context(tenancy.SYSTEM):
        release = Release.objects.create(site=site, number=1, blueprint={"a": 1})
        with pytest.raises(IntegrityError, match="never changed"), transaction.atomic():
            Release.objects.filter(pk=release.pk).update(blueprint={"a": 2})
        with pytest.raises(IntegrityError, match="never changed"), transaction.atomic():
            Release.objects.filter(pk=release.pk).update(number=7)
        assert Release.objects.filter(pk=release.pk).delete()[0] == 1


@pytest.mark.django_db
@pytest.mark.commits
def test_migrate_runs_in_the_system_context():
    contexts = []

    def record_context(**_):
        contexts.append((tenancy.current(), Site.objects.count()))

    SiteFactory()
    post_migrate.connect(record_context)
    try:
        call_command("migrate", verbosity=0)
    finally:
        post_migrate.disconnect(record_context)

    assert set(contexts) == {("system", 1)}
    assert (tenancy.current(), Site.objects.count()) == ("", 0)


@pytest.mark.django_db
def test_system_context_lets_a_new_constraint_find_an_orphan_row():
    site = SiteFactory()
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE orphans (id int PRIMARY KEY, site_id uuid NOT NULL)")
        try:
            cursor.execute(
                "ALTER TABLE orphans ENABLE ROW LEVEL SECURITY; ALTER TABLE orphans FORCE ROW LEVEL SECURITY"
            )
            cursor.execute("CREATE POLICY tenant ON orphans USING ((SELECT app_context()) = 'system')")
            with tenancy.context(tenancy.SYSTEM):
                cursor.execute("INSERT INTO orphans VALUES (1, %s), (2, gen_random_uuid())", [site.pk])
            with pytest.raises(IntegrityError), tenancy.context(tenancy.SYSTEM):
                cursor.execute("ALTER TABLE orphans ADD FOREIGN KEY (site_id) REFERENCES sites_site")
            with tenancy.context(tenancy.SYSTEM):
                cursor.execute("UPDATE orphans SET site_id = %s", [site.pk])
                assert cursor.rowcount == 2
                cursor.execute("ALTER TABLE orphans ADD FOREIGN KEY (site_id) REFERENCES sites_site")
        finally:
            cursor.execute("DROP TABLE orphans")


def test_access_is_unique_for_each_user_and_site():
    site = SiteFactory()

    with pytest.raises(IntegrityError), transaction.atomic():
        Access.objects.create(site=site, user=site.owner, role="owner")
    assert UserFactory().pk != site.owner_id


@pytest.mark.parametrize("column", ["id", "site_id", "number", "blueprint", "created_at"])
def test_release_refuses_a_change_of_each_column(column):
    site = SiteFactory()
    other_site = SiteFactory()
    new_values = {
        "id": uuid4(),
        "site_id": other_site.pk,
        "number": 7,
        "blueprint": {"a": 2},
        "created_at": timezone.now(),
    }

    with tenancy.context(tenancy.SYSTEM):
        release = Release.objects.create(site=site, number=1, blueprint={"a": 1})
        with pytest.raises(IntegrityError, match="never changed"), transaction.atomic():
            Release.objects.filter(pk=release.pk).update(**{column: new_values[column]})
