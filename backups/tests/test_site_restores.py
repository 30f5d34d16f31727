"""One site back, beside what is there now; nobody else's is touched, and rights that were taken away stay
away.
"""

import json
import uuid
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from accounts.models import User
from accounts.services import erasure
from accounts.tests.factories import UserFactory
from analytics.models import Annotation, Definition, Share
from audit.actors import SYSTEM
from audit.models import Entry
from backups.models import BackupRun, SiteRestore
from backups.services import worker
from backups.tests.test_runs import folder, take  # noqa: F401 - folder is a fixture
from conftest import sign_in
from core import tenancy
from sites.models import Access, Draft, Invitation, Post, Preview, Release, Revision, Site
from sites.tests.factories import SiteFactory, document, page

pytestmark = [pytest.mark.django_db, pytest.mark.commits]
OWNED = (Site, Draft, Release, Revision, Post, Access, Invitation, Preview, Definition, Annotation, Share)


def everything(site):
    """All that belongs to a site."""
    with tenancy.context(tenancy.SYSTEM):
        field = {Site: "pk"}
        return {
            model.__name__: list(
                model.objects.filter(**{field.get(model, "site"): site.pk}).order_by("pk").values()
            )
            for model in OWNED
        }


@pytest.fixture
def bakery(api):
    """A site with something of everything, published."""
    site = SiteFactory(owner=api.user, name="Bakery", blueprint=document(page("/"), page("/menu")))
    assert api.post(f"sites/{site.pk}/publish").status_code == 201
    for title in ("Rye", "Spelt", "Wheat"):
        assert (
            api.post(
                f"sites/{site.pk}/posts", {"title": title, "published_at": "2020-01-01T00:00:00Z"}
            ).status_code
            == 201
        )
    api.post(f"sites/{site.pk}/analytics/goals", {"name": "Menu", "conditions": ["page:is:/menu"]})
    api.post(f"sites/{site.pk}/analytics/shares", {"name": "For the board"})
    api.post(f"sites/{site.pk}/previews", {})
    api.post(f"sites/{site.pk}/invitations", {"email": "guest@example.com", "role": "editor"})
    api.post(f"sites/{site.pk}/schedules", {"at": (timezone.now() + timedelta(days=1)).isoformat()})
    return site


def wreck(api, site):
    """What an owner wishes undone."""
    assert api.put(f"sites/{site.pk}/blueprint", document(page("/oops")), if_match="*").status_code == 200
    with tenancy.context(tenancy.SYSTEM):
        for post in Post.objects.filter(site=site):
            post.delete()


def bring(api, site, run):
    asked = api.post(f"sites/{site.pk}/restore-points/{run.pk}/restore")
    assert asked.status_code == 202, asked.content
    worker.work(now=timezone.now())
    (row,) = api.get(f"sites/{site.pk}/restores").json()["results"]
    return row


def test_an_owner_gets_the_site_as_it_was_beside_what_is_there(api, other, bakery):
    elsewhere = SiteFactory(owner=other.user, name="Somebody else's")
    run = take()
    then = everything(bakery)
    wreck(api, bakery)
    now = everything(bakery)
    others = everything(elsewhere)

    points = api.get(f"sites/{bakery.pk}/restore-points").json()["results"]
    assert [point["id"] for point in points] == [str(run.pk)]
    row = bring(api, bakery, run)
    assert (row["status"], row["restore_point"]) == ("done", str(run.pk))

    made = api.get(f"sites/{row['site']}").json()
    assert (made["status"], made["name"][:8]) == ("draft", "Bakery (")
    assert made["subdomain"].startswith(f"{bakery.subdomain}-")
    back = everything(Site(pk=uuid.UUID(row["site"])))
    assert back["Draft"][0]["blueprint"] == then["Draft"][0]["blueprint"]
    assert [post["title"] for post in back["Post"]] == [post["title"] for post in then["Post"]]
    assert [row["number"] for row in back["Release"]] == [1]
    assert [goal["name"] for goal in back["Definition"]] == ["Menu"]
    assert len(back["Revision"]) == len(then["Revision"])
    assert [access["user_id"] for access in back["Access"]] == [api.user.pk]
    assert (back["Invitation"], back["Preview"], back["Share"]) == ([], [], []), (
        "links and rights do not come back"
    )
    ids = {name: {row["id"] for row in rows if "id" in row} for name, rows in then.items()}
    assert not any(ids[name] & {row.get("id") for row in rows} for name, rows in back.items())
    assert everything(bakery) == now
    assert everything(elsewhere) == others

    assert api.post(f"sites/{row['site']}/publish").status_code == 201
    assert Entry.objects.filter(event="site.brought_back", site_id=row["site"]).count() == 1


def test_every_table_of_a_site_is_taken_along_or_named_as_left_out(bakery):
    """Whoever adds a table that refers to another by number, or that has no uuid to be renamed, hears of it
    here.
    """
    from backups.site_import import COLUMNS, LEFT_OUT, OWNED, REFERENCES, SITE

    with connection.cursor() as cursor:
        cursor.execute(OWNED)
        tables = {row[0] for row in cursor.fetchall()} | {SITE}
        assert tables >= LEFT_OUT
        numbered = set()
        for table in tables - LEFT_OUT:
            cursor.execute(COLUMNS, [table])
            if any(key and kind in {"bigint", "integer"} for _, kind, _, key in cursor.fetchall()):
                numbered.add(table)
        for table in tables - LEFT_OUT:
            cursor.execute(REFERENCES, [table])
            assert not {target for _, target, _ in cursor.fetchall()} & numbered


def test_an_erased_author_stays_erased_and_a_member_who_left_stays_out(api, bakery):
    author = UserFactory()
    left = UserFactory()
    with tenancy.context(tenancy.SYSTEM):
        Access.objects.create(site=bakery, user=left, role="editor")
        Post.objects.filter(site=bakery).update(author=author)
    run = take()
    erasure.close_and_erase(author.email, actor=SYSTEM, now=timezone.now())
    with tenancy.context(tenancy.SYSTEM):
        Access.objects.filter(site=bakery, user=left).delete()

    row = bring(api, bakery, run)

    assert row["status"] == "done"
    back = everything(Site(pk=uuid.UUID(row["site"])))
    assert {post["author_id"] for post in back["Post"]} == {None}
    assert {access["user_id"] for access in back["Access"]} == {api.user.pk}
    assert not User.objects.get_queryset().filter(pk=author.pk).exists()


def test_a_site_that_is_gone_comes_back_by_command(api, bakery, capsys):
    run = take()
    then = everything(bakery)
    api.delete(f"sites/{bakery.pk}", if_match="*")
    with tenancy.context(tenancy.SYSTEM):
        from sites.services.sites import purge_queryset

        assert purge_queryset(Site.objects.filter(pk=bakery.pk)) == 1

    call_command("site_restore", str(bakery.pk), "--at", timezone.now().isoformat(), "--json")
    said = json.loads(capsys.readouterr().out)
    assert said["run"] == run.pk.hex
    back = everything(Site(pk=uuid.UUID(said["site"])))
    assert back["Draft"][0]["blueprint"] == then["Draft"][0]["blueprint"]
    with pytest.raises(CommandError, match="no backup of that moment"):
        call_command("site_restore", str(bakery.pk), "--at", "2020-01-01T00:00Z")
    with pytest.raises(CommandError, match="was not there"):
        call_command("site_restore", str(uuid.uuid4()), "--at", timezone.now().isoformat())
    with pytest.raises(CommandError, match="There is no site"):
        call_command("site_restore", "nothing-here", "--at", timezone.now().isoformat())
    assert SiteRestore.objects.filter(status="running").count() == 0


def test_what_cannot_be_brought_back_says_why_and_changes_nothing(api, bakery, monkeypatch):
    run = take()
    monkeypatch.setattr("sites.services.sites.MAX_SITES", 1)
    before = everything(bakery)

    row = bring(api, bakery, run)

    assert (row["status"], row["site"]) == ("failed", None)
    assert everything(bakery) == before
    with tenancy.context(tenancy.SYSTEM):
        assert Site.objects.filter(owner=api.user).count() == 1
    assert SiteRestore.objects.get().error


def test_only_the_owner_and_only_moments_of_this_site(api, other, bakery, settings):
    before = take()
    BackupRun.objects.filter(pk=before.pk).update(taken_at=bakery.created_at - timedelta(seconds=1))
    run = take()
    with tenancy.context(tenancy.SYSTEM):
        Access.objects.create(site=bakery, user=other.user, role="editor")

    path = f"sites/{bakery.pk}/restore-points"
    assert [
        other.get(path).status_code,
        other.post(path).status_code,
        other.post(f"{path}/{run.pk}/restore").status_code,
    ] == [403] * 3
    assert sign_in(UserFactory()).post(f"{path}/{run.pk}/restore").status_code == 404
    assert api.post(f"{path}/{before.pk}/restore").status_code == 404
    first = api.post(f"{path}/{run.pk}/restore")
    second = api.post(f"{path}/{run.pk}/restore")
    assert (first.status_code, second.status_code, second.json()["code"]) == (202, 409, "restore_under_way")
    SiteRestore.objects.all().delete()
    settings.BACKUP_KEYS = []
    assert api.post(f"{path}/{run.pk}/restore").json()["code"] == "key_elsewhere"


def test_a_point_of_now_is_made_once_in_a_while(api, bakery):
    first, second = (api.post(f"sites/{bakery.pk}/restore-points").json() for _ in range(2))

    assert first["id"] == second["id"]
    worker.work(now=timezone.now())
    assert api.post(f"sites/{bakery.pk}/restore-points").json()["id"] == first["id"]
    assert BackupRun.objects.count() == 1


@pytest.mark.parametrize("rows", [1, 3])
def test_lists_cost_the_same_for_many(api, bakery, rows, django_assert_num_queries):
    moment = timezone.now()
    for number in range(rows):
        BackupRun.objects.create(status="done", name=f"runs/{number}", taken_at=moment)

    with django_assert_num_queries(5):  # the context and its savepoint, the site with the role, the page
        assert len(api.get(f"sites/{bakery.pk}/restore-points").json()["results"]) == rows
