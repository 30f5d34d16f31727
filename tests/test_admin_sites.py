"""The admin pages and actions of the sites app, on a site that has a row of each kind."""

from datetime import timedelta

import pytest
from django.utils import timezone

from audit.models import Entry
from core import tenancy
from sites.models import Access, Invitation, Post, Preview, Release, Review, Schedule, Site
from tests.admin_client import run_admin_action

pytestmark = pytest.mark.django_db


@pytest.fixture
def team_with_rows(team):
    """A team whose site has two releases, a schedule, a review, a preview, an invitation and a live post."""
    for title in ("First", "Second"):
        team.save_draft(title)
        team.editor.post(team.path("publish"), {"note": title})
    in_an_hour = timezone.now() + timedelta(hours=1)
    responses = [
        team.editor.post(team.path("schedules"), {"at": in_an_hour.isoformat()}),
        team.author.post(team.path("reviews"), {"note": "Please"}),
        team.author.post(team.path("previews"), {}),
        team.owner.post(team.path("invitations"), {"email": "x@example.com", "role": "viewer"}),
        team.editor.post(team.path("posts"), {"title": "A post", "published_at": "2026-01-01T00:00:00Z"}),
    ]
    assert {response.status_code for response in responses} == {201}
    return team


def first_row(model, **filters):
    """The oldest row of `model` that matches, or None."""
    with tenancy.context(tenancy.SYSTEM):
        return model.objects.filter(**filters).order_by("pk").first()


@pytest.mark.parametrize("model", [Access, Invitation, Post, Preview, Release, Review, Schedule])
def test_sites_admin_pages_list_search_and_open_rows(
    staff_client, team_with_rows, model, django_assert_max_num_queries
):
    base = f"/admin/sites/{model._meta.model_name}/"
    change_page = f"{base}{first_row(model).pk}/change/"

    with django_assert_max_num_queries(16):
        response = staff_client.get(f"{base}?q={team_with_rows.site.subdomain}")
    assert change_page in response.content.decode()
    with django_assert_max_num_queries(20):
        assert staff_client.get(change_page).status_code == 200
    assert Entry.objects.filter(event="admin.viewed", site_id=team_with_rows.site.pk).exists()


def test_preview_admin_hides_the_key_of_the_preview(staff_client, team_with_rows):
    previews = team_with_rows.author.get(team_with_rows.path("previews")).json()["results"]
    key = previews[0]["url"].rstrip("/").rpartition(".")[2]

    for page in ("", f"{first_row(Preview).pk}/change/"):
        assert key not in staff_client.get(f"/admin/sites/preview/{page}").content.decode()


def test_release_admin_roll_back_rolls_back_to_the_release(staff_client, team_with_rows):
    first_release = first_row(Release, number=1)

    messages = run_admin_action(staff_client, "sites/release", "roll_back", first_release)
    repeated = run_admin_action(staff_client, "sites/release", "roll_back", first_release)

    assert "Rolled back to 1 releases" in messages
    assert "is already live" in repeated
    assert first_row(Site).live_release_id == first_release.pk


def test_schedule_admin_cancel_removes_the_schedule(staff_client, team_with_rows):
    messages = run_admin_action(staff_client, "sites/schedule", "cancel", first_row(Schedule))

    assert "Cancelled 1 schedules" in messages
    assert first_row(Schedule) is None


def test_review_admin_approve_publishes_and_closes_the_review(staff_client, team_with_rows):
    approved = run_admin_action(staff_client, "sites/review", "approve", first_row(Review))
    withdrawn = run_admin_action(staff_client, "sites/review", "withdraw", first_row(Review))

    assert "Approved 1 reviews" in approved
    assert "not open any more" in withdrawn
    assert first_row(Release, number=3).blueprint["settings"]["title"] == "Second"


def test_preview_admin_revoke_and_invitation_admin_withdraw_call_the_services(staff_client, team_with_rows):
    revoked = run_admin_action(staff_client, "sites/preview", "revoke", first_row(Preview))
    withdrawn = run_admin_action(staff_client, "sites/invitation", "withdraw", first_row(Invitation))

    assert "Revoked 1 previews" in revoked
    assert "Withdrew 1 invitations" in withdrawn
    assert first_row(Invitation).used_at is not None


def test_post_admin_actions_call_the_services(staff_client, team_with_rows):
    post = first_row(Post)

    assert "Unpublished 1 posts" in run_admin_action(staff_client, "sites/post", "unpublish", post)
    assert (first_row(Post).live, first_row(Post).published_at) == (False, None)
    assert "Deleted 1 posts" in run_admin_action(staff_client, "sites/post", "soft_delete", post)
    assert first_row(Post).deleted_at is not None
    assert "Restored 1 posts" in run_admin_action(staff_client, "sites/post", "restore", post)
    assert first_row(Post).deleted_at is None


def test_access_admin_remove_keeps_the_owner(staff_client, team_with_rows):
    editor = Access.objects.get(site=team_with_rows.site, role="editor")
    owner = Access.objects.get(site=team_with_rows.site, role="owner")

    assert "Removed 1 site members" in run_admin_action(staff_client, "sites/access", "remove", editor)
    assert team_with_rows.editor.get(team_with_rows.path()).status_code == 404
    assert "always has an owner" in run_admin_action(staff_client, "sites/access", "remove", owner)
