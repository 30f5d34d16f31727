"""The windows and buttons of sites in the admin, with one of everything behind them."""

from datetime import timedelta

import pytest
from django.utils import timezone

from audit.models import Entry
from core import tenancy
from sites.models import Access, Invitation, Post, Preview, Release, Review, Schedule, Site
from tests.test_admin import press, staff  # noqa: F401 - a fixture

pytestmark = pytest.mark.django_db
SOON = timedelta(hours=1)


@pytest.fixture
def everything(team):
    """A site with two releases, a plan, an open review, a preview, an invitation and a live post."""
    for title in ("First", "Second"):
        team.save_draft(title)
        team.editor.post(team.path("publish"), {"note": title})
    made = [
        team.editor.post(team.path("schedules"), {"at": (timezone.now() + SOON).isoformat()}),
        team.author.post(team.path("reviews"), {"note": "Please"}),
        team.author.post(team.path("previews"), {}),
        team.owner.post(team.path("invitations"), {"email": "x@example.com", "role": "viewer"}),
        team.editor.post(team.path("posts"), {"title": "A post", "published_at": "2026-01-01T00:00:00Z"}),
    ]
    assert {answer.status_code for answer in made} == {201}
    return team


def only(model, **facts):
    with tenancy.context(tenancy.SYSTEM):
        return model.objects.filter(**facts).order_by("pk").first()


@pytest.mark.parametrize("model", [Access, Invitation, Post, Preview, Release, Review, Schedule])
def test_every_window_lists_searches_and_opens_its_rows(
    staff,  # noqa: F811
    everything,
    model,
    django_assert_max_num_queries,
):
    base = f"/admin/sites/{model._meta.model_name}/"
    with django_assert_max_num_queries(16):
        listed = staff.get(f"{base}?q={everything.site.subdomain}")
    assert f"{base}{only(model).pk}/change/" in listed.content.decode()
    with django_assert_max_num_queries(20):
        assert staff.get(f"{base}{only(model).pk}/change/").status_code == 200
    assert Entry.objects.filter(event="admin.viewed", site_id=everything.site.pk).exists()


def test_no_page_shows_a_key(staff, everything):  # noqa: F811
    url = everything.author.get(everything.path("previews")).json()["results"][0]["url"]
    key = url.rstrip("/").rpartition(".")[2]

    for address in ("", f"{only(Preview).pk}/change/"):
        assert key not in staff.get(f"/admin/sites/preview/{address}").content.decode()


def test_buttons_call_the_services(staff, everything):  # noqa: F811
    first = only(Release, number=1)
    assert "Rolled back to 1 releases" in press(staff, "sites/release", "roll_back", first)
    assert "see this release already" in press(staff, "sites/release", "roll_back", first)
    assert only(Site).live_release_id == first.pk
    assert "Cancelled 1 schedules" in press(staff, "sites/schedule", "cancel", only(Schedule))
    assert only(Schedule) is None
    assert "Approved 1 reviews" in press(staff, "sites/review", "approve", only(Review))
    assert "not open any more" in press(staff, "sites/review", "withdraw", only(Review))
    assert only(Release, number=3).blueprint["settings"]["title"] == "Second"
    assert "Revoked 1 previews" in press(staff, "sites/preview", "revoke", only(Preview))
    assert "Withdrew 1 invitations" in press(staff, "sites/invitation", "withdraw", only(Invitation))
    assert only(Invitation).used_at is not None


def test_buttons_for_posts_and_members(staff, everything):  # noqa: F811
    post = only(Post)
    assert "Unpublished 1 posts" in press(staff, "sites/post", "unpublish", post)
    assert (only(Post).live, only(Post).published_at) == (False, None)
    assert "Deleted 1 posts" in press(staff, "sites/post", "soft_delete", post)
    assert only(Post).deleted_at is not None
    assert "Restored 1 posts" in press(staff, "sites/post", "restore", post)
    assert only(Post).deleted_at is None
    editor = Access.objects.get(site=everything.site, role="editor")
    assert "Removed 1 access" in press(staff, "sites/access", "remove", editor)
    assert everything.editor.get(everything.path()).status_code == 404
    owner = Access.objects.get(site=everything.site, role="owner")
    assert "always has an owner" in press(staff, "sites/access", "remove", owner)
