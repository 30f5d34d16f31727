"""Saves of one author within a minute share a revision, unless something else needs the earlier state."""

from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from audit import actors
from core import tenancy
from core.errors import NotFound
from sites.models import Revision
from sites.services import drafts, previews
from sites.tests.api_calls import audit_events, patch_blueprint, replace_title
from sites.tests.factories import SiteFactory, document, heading_block, page

pytestmark = pytest.mark.django_db
STORED_BYTES = """
    SELECT coalesce(sum(pg_column_size(blueprint)), 0) FROM (
        SELECT blueprint FROM sites_draft UNION ALL SELECT blueprint FROM sites_revision
    ) documents
"""


def versions(team):
    """The versions of the site's revisions, newest first."""
    rows = team.viewer.get(team.path("revisions")).json()["results"]
    return [row["version"] for row in rows]


def test_saves_of_one_author_within_a_minute_become_one_revision(team):
    for title in ("One", "Two", "Three"):
        saved = team.save_draft(title)

    assert (saved["ETag"], versions(team)) == ('"4"', [4, 1])
    newest = team.viewer.get(team.path("revisions")).json()["results"][0]["id"]
    assert team.viewer.get(team.path(f"revisions/{newest}")).json() == saved.json()
    assert audit_events(team, "draft.saved") == ["draft.saved"] * 3


def test_the_minute_begins_with_the_first_of_the_saves(team, monkeypatch):
    team.save_draft("One")
    with tenancy.context(tenancy.SYSTEM):
        first_saved_at = Revision.objects.get(version=2).created_at
    team.save_draft("Two")
    with tenancy.context(tenancy.SYSTEM):
        assert Revision.objects.get(version=3).created_at == first_saved_at
    monkeypatch.setattr(drafts, "REVISION_INTERVAL", timedelta(0))

    team.save_draft("Three")

    assert versions(team) == [4, 3, 1]


def publish(team):
    assert team.editor.post(team.path("publish")).status_code == 201


def schedule(team):
    at = (timezone.now() + timedelta(hours=1)).isoformat()
    assert team.editor.post(team.path("schedules"), {"at": at}).status_code == 201


def ask_for_review(team):
    assert team.author.post(team.path("reviews"), {}).status_code == 201


def share_preview(team):
    newest = team.author.get(team.path("revisions")).json()["results"][0]["id"]
    assert team.author.post(team.path("previews"), {"revision": newest}).status_code == 201


def save_as_another_author(team):
    team.save_draft("By the editor", role="editor")


@pytest.mark.parametrize(
    "use_revision", [publish, schedule, ask_for_review, share_preview, save_as_another_author]
)
def test_a_save_keeps_the_previous_revision_when_something_needs_it(team, use_revision):
    team.save_draft("One")
    use_revision(team)

    team.save_draft("Two")

    assert versions(team)[1:] == ([3, 2, 1] if use_revision is save_as_another_author else [2, 1])


def test_a_restore_keeps_the_state_that_it_overwrites(team):
    team.save_draft("One")
    first = team.author.get(team.path("revisions")).json()["results"][-1]["id"]

    restored = team.author.post(team.path(f"revisions/{first}/restore"), if_match="*")

    assert (restored.status_code, versions(team)) == (200, [3, 2, 1])


def test_a_preview_of_a_revision_that_a_save_has_replaced_is_refused(team):
    team.save_draft("One")
    with tenancy.context(tenancy.user_context(team.author.user.pk)):
        replaced = Revision.objects.get(version=2)
    team.save_draft("Two")

    with tenancy.context(tenancy.user_context(team.author.user.pk)), pytest.raises(NotFound):
        previews.create_preview(
            team.site,
            actor=actors.user(team.author.user),
            now=timezone.now(),
            lifetime=timedelta(hours=1),
            revision=replaced,
        )


@pytest.mark.commits
def test_small_patches_of_a_large_draft_do_not_grow_the_database_by_a_copy_each(api):
    blocks = [heading_block(f"b{number}", f"{number:x}" * 20) for number in range(1500)]
    site = SiteFactory(owner=api.user, blueprint=document(page(blocks=blocks)))
    patch_blueprint(api, site, replace_title("First"), if_match=1)
    before = stored_bytes()

    for number in range(10):  # 92 bytes each
        assert (
            patch_blueprint(api, site, replace_title(f"{number:030}"), if_match=number + 2).status_code == 200
        )

    assert stored_bytes() - before < 2000
    vacuum()
    relation_bytes = vacuum()
    for number in range(10):
        patch_blueprint(api, site, replace_title(f"{number:030}"), if_match=number + 12)
        vacuum()
    assert vacuum() <= relation_bytes, "the space of replaced documents is used again"


def stored_bytes():
    """The bytes of all drafts and revisions, as they are compressed."""
    with tenancy.context(tenancy.SYSTEM), connection.cursor() as cursor:
        cursor.execute(STORED_BYTES)
        return cursor.fetchone()[0]


def vacuum():
    """Make the space of deleted rows usable, as autovacuum does. Returns the bytes of the files."""
    with connection.cursor() as cursor:
        cursor.execute("VACUUM sites_draft, sites_revision")
        cursor.execute(
            "SELECT pg_total_relation_size('sites_draft') + pg_total_relation_size('sites_revision')"
        )
        return cursor.fetchone()[0]
