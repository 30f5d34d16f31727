"""Revisions of drafts: restored, compared with each other, and thinned by age."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.db.utils import DatabaseError
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from core import tenancy
from sites.blueprint.diff import _moved_ids, diff_blueprints
from sites.models import Draft, Revision
from sites.services import drafts
from sites.tests.api_calls import create_schedule, patch_blueprint, replace_title
from sites.tests.factories import SiteFactory, document, heading_block, page

pytestmark = pytest.mark.django_db
NOW = datetime(2030, 6, 1, 12, 0, tzinfo=UTC)


@pytest.fixture
def site(api):
    home = page(blocks=[heading_block(f"b{number}") for number in range(20)])
    return SiteFactory(owner=api.user, blueprint=document(home))


def test_restore_revision_saves_it_as_a_new_draft(api, site):
    first = api.get(f"sites/{site.pk}/blueprint").json()
    patch_blueprint(api, site, replace_title("Second"), if_match=1)
    patch_blueprint(api, site, replace_title("Third"), if_match=2)

    rows = api.get(f"sites/{site.pk}/revisions").json()["results"]

    assert [(row["version"], row["author"]) for row in rows] == [
        (3, str(api.user.pk)),
        (1, str(api.user.pk)),
    ]
    assert api.get(f"sites/{site.pk}/revisions/{rows[1]['id']}").json() == first
    assert api.post(f"sites/{site.pk}/revisions/{rows[1]['id']}/restore").status_code == 428
    restored = api.post(f"sites/{site.pk}/revisions/{rows[1]['id']}/restore", if_match=3)
    assert (restored.json(), restored["ETag"]) == (first, '"4"')
    rows = api.get(f"sites/{site.pk}/revisions").json()["results"]
    assert [row["version"] for row in rows] == [4, 3, 1], "the state before the restore stays"


def test_restore_release_changes_the_draft_only(api, site):
    release = api.post(f"sites/{site.pk}/publish").json()
    patch_blueprint(api, site, replace_title("Second"), if_match=1)

    restored = api.post(f"sites/{site.pk}/releases/{release['id']}/restore", if_match=2)

    assert (restored.status_code, restored.json()["settings"]["title"]) == (200, "A site")
    assert api.get(f"sites/{site.pk}").json()["release"] == 1


@pytest.mark.commits
def test_revision_rejects_updates(site):
    with (
        tenancy.context(tenancy.SYSTEM),
        pytest.raises(DatabaseError, match="never changed"),
    ):
        Revision.objects.update(version=99)


def test_diff_blueprints_lists_added_removed_moved_and_changed(api, site):
    before = document(
        page(blocks=[heading_block("a"), heading_block("b"), heading_block("c"), heading_block("d")]),
        page("/old"),
    )
    after = document(
        page(
            title="Renamed",
            blocks=[
                heading_block("d"),
                heading_block("a"),
                heading_block("b", "changed"),
                heading_block("new"),
            ],
        ),
        page("/fresh", blocks=[heading_block("c")]),
        settings={"title": "Other"},
    )

    differences = diff_blueprints(before, after)

    assert differences["parts"] == ["settings"]
    assert {name: [row["id"] for row in rows] for name, rows in differences["pages"].items()} == {
        "added": ["fresh"],
        "removed": ["old"],
        "moved": [],
        "changed": ["home"],
    }
    assert {name: [row["id"] for row in rows] for name, rows in differences["blocks"].items()} == {
        "added": ["new"],
        "removed": ["old-h"],
        "moved": ["d", "c"],
        "changed": ["b"],
    }


def test_compare_accepts_drafts_revisions_and_releases(api, site):
    release = api.post(f"sites/{site.pk}/publish").json()["id"]
    first = api.get(f"sites/{site.pk}/revisions").json()["results"][0]["id"]
    patch_blueprint(
        api, site, replace_title("Second"), {"op": "remove", "path": "/pages/0/blocks/3"}, if_match=1
    )

    for before in (f"revision:{first}", f"release:{release}", "live"):
        differences = api.get(f"sites/{site.pk}/differences?from={before}").json()
        assert (differences["parts"], [row["id"] for row in differences["blocks"]["removed"]]) == (
            ["settings"],
            ["b3"],
        )
    no_differences = api.get(f"sites/{site.pk}/differences").json()
    assert (
        no_differences["parts"],
        [rows for part in ("pages", "blocks") for rows in no_differences[part].values() if rows],
    ) == ([], [])
    for invalid_state in ("x", "revision:x", "draft:1", "revision:"):
        assert api.get(f"sites/{site.pk}/differences?from={invalid_state}").status_code == 400
    assert api.get(f"sites/{site.pk}/differences?from=revision:{release}").status_code == 404


@given(st.permutations(list("abcdefgh")))
def test_moved_ids_are_as_few_as_possible(order):
    moved = _moved_ids(list("abcdefgh"), order)

    stayed = [pk for pk in order if pk not in moved]
    assert stayed == sorted(stayed)
    longest = max(sum(1 for _ in run) for run in rising_runs(order))
    assert len(stayed) >= longest


def rising_runs(order):
    """Yield the longest runs of neighbours in alphabetical order."""
    current = [order[0]]
    for pk in order[1:]:
        if pk > current[-1]:
            current.append(pk)
        else:
            yield current
            current = [pk]
    yield current


@pytest.mark.commits
def test_thin_revisions_keeps_fewer_the_older_they_are(site):
    ages = [timedelta(minutes=10 * n) for n in range(1, 200)] + [timedelta(days=n) for n in range(2, 200)]
    with tenancy.context(tenancy.SYSTEM):
        Revision.objects.all().delete()
        Revision.objects.bulk_create(
            Revision(site=site, version=number + 1, blueprint={}, size=2) for number in range(len(ages))
        )
    with tenancy.context(tenancy.SYSTEM):
        set_ages(NOW, sorted(ages, reverse=True))
    with tenancy.context(tenancy.SYSTEM):
        drafts.thin_revisions(now=NOW)
        kept_ages = [NOW - created_at for created_at in Revision.objects.values_list("created_at", flat=True)]
        deleted_again = drafts.thin_revisions(now=NOW)
        drafts.thin_revisions(now=NOW + timedelta(days=3000))
        versions_left = list(Revision.objects.values_list("version", flat=True))

    day = timedelta(days=1)
    week = timedelta(days=7)
    assert len([age for age in kept_ages if age <= day]) == 144
    assert len([age for age in kept_ages if day < age <= week]) <= 24 + 6
    assert len([age for age in kept_ages if age > timedelta(days=90)]) <= 16
    assert deleted_again == 0
    assert versions_left == [max(versions_left)]


def set_ages(now, ages):
    """Set `created_at` of the revisions. The trigger that rejects updates is disabled for this."""
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE sites_revision DISABLE TRIGGER revision_is_final")
        for number, age in enumerate(ages):
            cursor.execute(
                "UPDATE sites_revision SET created_at = %s WHERE version = %s", [now - age, number + 1]
            )
        cursor.execute("ALTER TABLE sites_revision ENABLE TRIGGER revision_is_final")


@pytest.mark.parametrize("reference", ["preview", "schedule"])
def test_thin_revisions_ignores_rows_without_a_revision(live_team, reference):
    for title in ("One", "Two"):
        live_team.save_draft(title)
    if reference == "preview":
        live_team.author.post(live_team.path("previews"), {})
    else:
        create_schedule(live_team, act="unpublish")

    with tenancy.context(tenancy.SYSTEM):
        drafts.thin_revisions(now=timezone.now() + timedelta(days=4000))
        assert Revision.objects.filter(site=live_team.site).count() == 1


def test_revision_views_answer_404_for_other_sites(api, other, site):
    row = api.get(f"sites/{site.pk}/revisions").json()["results"][0]["id"]
    own_site = SiteFactory(owner=other.user)

    responses = [
        other.get(f"sites/{site.pk}/revisions"),
        other.get(f"sites/{own_site.pk}/revisions/{row}"),
        other.get(f"sites/{own_site.pk}/differences?from=revision:{row}"),
    ]

    assert [response.status_code for response in responses] == [404] * 3
    assert Draft.objects.count() == 0, "without a context there are no rows"
