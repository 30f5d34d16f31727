"""The second fence, trap by trap (PostgreSQL row-level security)."""

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

# Tables with a site, owner or user column that stand behind the first fence alone (DESIGN 4.4).
FIRST_FENCE_ONLY = {
    # Events and their sums are read by analytics.store alone, whose functions all take one site, and copied
    # by writers for all.
    "analytics_event",
    "analytics_dirty",
    "analytics_salt",
    "analytics_term",
    "analytics_hour",
    "analytics_day",
    "analytics_drop",
    "sites_access",  # ids only; the policies read it
    "backups_siterestore",  # ids only, read through the site that they are about
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


def sites_seen():
    return set(Site.objects.values_list("pk", flat=True))


def test_without_a_context_there_are_no_rows_and_none_may_be_made():
    site = SiteFactory()

    assert (sites_seen(), Draft.objects.count()) == (set(), 0)
    with pytest.raises(DatabaseError, match="row-level security"), transaction.atomic():
        Site.objects.create(owner=site.owner, name="x", subdomain="no-context")
    assert Site.objects.filter(pk=site.pk).update(name="changed") == 0
    assert Site.objects.filter(pk=site.pk).delete()[0] == 0


def test_a_user_sees_and_changes_their_own_sites_only():
    mine = SiteFactory()
    theirs = SiteFactory()

    with tenancy.context(tenancy.user_context(mine.owner_id)):
        assert sites_seen() == {mine.pk}
        assert set(Draft.objects.values_list("pk", flat=True)) == {mine.pk}
        assert Site.objects.filter(pk=theirs.pk).update(name="stolen") == 0
        with pytest.raises(DatabaseError, match="row-level security"), transaction.atomic():
            Draft.objects.filter(pk=mine.pk).update(site_id=theirs.pk)
        with pytest.raises(DatabaseError, match="row-level security"), transaction.atomic():
            Release.objects.create(site=theirs, number=1, blueprint={})


def test_nested_contexts_each_see_their_own_and_leaving_restores_the_outer():
    first = SiteFactory()
    second = SiteFactory()

    with tenancy.context(tenancy.user_context(first.owner_id)):
        with tenancy.context(tenancy.user_context(second.owner_id)):
            assert sites_seen() == {second.pk}
            with tenancy.context(tenancy.SYSTEM):
                assert sites_seen() == {first.pk, second.pk}
            assert sites_seen() == {second.pk}
        assert sites_seen() == {first.pk}
    assert sites_seen() == set()


def test_an_error_in_a_nested_context_restores_the_outer():
    first = SiteFactory()
    second = SiteFactory()

    with tenancy.context(tenancy.user_context(first.owner_id)):
        with pytest.raises(IntegrityError), tenancy.context(tenancy.SYSTEM):
            Site.objects.create(owner=second.owner, name="x", subdomain=first.subdomain)
        assert sites_seen() == {first.pk}
        with pytest.raises(RuntimeError), tenancy.context(tenancy.user_context(second.owner_id)):
            raise RuntimeError
        assert sites_seen() == {first.pk}


@pytest.mark.django_db
@pytest.mark.commits
def test_the_context_ends_with_its_transaction_and_what_is_left_is_no_error():
    site = SiteFactory()
    with tenancy.context(tenancy.user_context(site.owner_id)):
        assert sites_seen() == {site.pk}

    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('app.context', true)")
        assert cursor.fetchone() == ("",)
    assert sites_seen() == set()


@pytest.mark.django_db
@pytest.mark.commits
def test_the_context_ends_with_an_error_too():
    site = SiteFactory()

    with pytest.raises(RuntimeError), tenancy.context(tenancy.SYSTEM):
        raise RuntimeError

    assert sites_seen() == set()
    assert site.pk


@pytest.mark.parametrize("value", ["user:", "user:x", "user:' OR true --", "SYSTEM", "system ", "admin"])
def test_a_context_that_is_none_of_ours_shows_nothing(value):
    SiteFactory()

    with tenancy.context(value):
        try:
            assert sites_seen() == set()
        except DatabaseError:
            transaction.set_rollback(True)


def test_the_public_sees_live_sites_and_their_live_release_only():
    draft = SiteFactory()
    live = SiteFactory()
    hidden = SiteFactory()
    with tenancy.context(tenancy.SYSTEM):
        old = Release.objects.create(site=live, number=1, blueprint={})
        new = Release.objects.create(site=live, number=2, blueprint={})
        Site.objects.filter(pk=live.pk).update(status="live", live_release=new)
        gone = Release.objects.create(site=hidden, number=1, blueprint={})
        Site.objects.filter(pk=hidden.pk).update(
            status="live", live_release=gone, deleted_at="2026-01-01T00:00Z"
        )

    with tenancy.context(tenancy.PUBLIC):
        assert sites_seen() == {live.pk}
        assert set(Release.objects.values_list("pk", flat=True)) == {new.pk}
        assert Draft.objects.count() == 0
        assert Site.objects.filter(pk=live.pk).update(name="defaced") == 0
    assert draft.pk != old.pk


def test_every_table_of_customer_content_is_fenced_and_forced():
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT c.relname, c.relrowsecurity AND c.relforcerowsecurity
                AND EXISTS (SELECT 1 FROM pg_policy p WHERE p.polrelid = c.oid)
            FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = 'public'
            WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relname NOT LIKE 'audit\\_%' AND (c.relname LIKE 'sites\\_%' OR EXISTS (
                SELECT 1 FROM pg_attribute a WHERE a.attrelid = c.oid AND NOT a.attisdropped
                AND a.attname IN ('site_id', 'site_number', 'owner_id', 'user_id', 'author_id')))
            """
        )
        fenced = dict(cursor.fetchall())

    assert {table for table, safe in fenced.items() if not safe} == FIRST_FENCE_ONLY
    assert {"sites_site", "sites_draft", "sites_release", "sites_announcement"} <= fenced.keys()


def test_a_release_is_never_changed():
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
def test_migrate_runs_in_context_system_and_leaves_none_behind():
    seen = []

    def look(**_):
        seen.append((tenancy.current(), Site.objects.count()))

    SiteFactory()
    post_migrate.connect(look)
    try:
        call_command("migrate", verbosity=0)
    finally:
        post_migrate.disconnect(look)

    assert set(seen) == {("system", 1)}
    assert (tenancy.current(), Site.objects.count()) == ("", 0)


@pytest.mark.django_db
def test_a_constraint_added_by_a_migration_finds_the_orphan_that_was_planted():
    site = SiteFactory()
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE planted (id int PRIMARY KEY, site_id uuid NOT NULL)")
        try:
            cursor.execute(
                "ALTER TABLE planted ENABLE ROW LEVEL SECURITY; ALTER TABLE planted FORCE ROW LEVEL SECURITY"
            )
            cursor.execute("CREATE POLICY tenant ON planted USING ((SELECT app_context()) = 'system')")
            with tenancy.context(tenancy.SYSTEM):
                cursor.execute("INSERT INTO planted VALUES (1, %s), (2, gen_random_uuid())", [site.pk])
            with pytest.raises(IntegrityError), tenancy.context(tenancy.SYSTEM):
                cursor.execute("ALTER TABLE planted ADD FOREIGN KEY (site_id) REFERENCES sites_site")
            with tenancy.context(tenancy.SYSTEM):
                cursor.execute("UPDATE planted SET site_id = %s", [site.pk])
                assert cursor.rowcount == 2
                cursor.execute("ALTER TABLE planted ADD FOREIGN KEY (site_id) REFERENCES sites_site")
        finally:
            cursor.execute("DROP TABLE planted")


def test_access_is_unique_for_each_person_and_site():
    site = SiteFactory()

    with pytest.raises(IntegrityError), transaction.atomic():
        Access.objects.create(site=site, user=site.owner, role="owner")
    assert UserFactory().pk != site.owner_id


@pytest.mark.parametrize("column", ["id", "site_id", "number", "blueprint", "created_at"])
def test_no_column_of_a_release_that_visitors_could_notice_is_changed(column):
    site = SiteFactory()
    elsewhere = SiteFactory()
    other = {
        "id": uuid4(),
        "site_id": elsewhere.pk,
        "number": 7,
        "blueprint": {"a": 2},
        "created_at": timezone.now(),
    }

    with tenancy.context(tenancy.SYSTEM):
        release = Release.objects.create(site=site, number=1, blueprint={"a": 1})
        with pytest.raises(IntegrityError, match="never changed"), transaction.atomic():
            Release.objects.filter(pk=release.pk).update(**{column: other[column]})
