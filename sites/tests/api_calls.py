"""Requests to the API of sites that tests in several files make, and reads of what they changed."""

from datetime import timedelta
from typing import Any

from django.utils import timezone

from audit.models import Entry
from conftest import Api
from core import tenancy
from sites.models import Release, Schedule, Site
from sites.tests.team import Team

PAST = "2026-01-02T03:04:05Z"
ONE_HOUR = timedelta(hours=1)


def replace_title(title: str) -> dict[str, Any]:
    """Return a JSON Patch operation that replaces the title of a site."""
    return {"op": "replace", "path": "/settings/title", "value": title}


def patch_blueprint(api: Api, site: Site, *operations: dict[str, Any], **options: Any) -> Any:
    return api.patch(f"sites/{site.pk}/blueprint", list(operations), **options)


def create_post(team: Team, role: str = "editor", **body: Any) -> dict[str, Any]:
    response = team.member(role).post(team.path("posts"), {"title": "A post", **body})
    assert response.status_code == 201, response.content
    post: dict[str, Any] = response.json()
    return post


def patch_post(
    team: Team, post: dict[str, Any], role: str = "editor", version: Any = "*", **body: Any
) -> Any:
    return team.member(role).patch(team.path(f"posts/{post['id']}"), body, if_match=version)


def create_preview(team: Team, role: str = "author", **body: Any) -> dict[str, Any]:
    response = team.member(role).post(team.path("previews"), body)
    assert response.status_code == 201, response.content
    preview: dict[str, Any] = response.json()
    return preview


def preview_path(preview: dict[str, Any]) -> str:
    """Return the path of a preview's URL, for a request to the host of its site."""
    return "/" + preview["url"].split("/", 3)[3]


def create_schedule(team: Team, role: str = "editor", **body: Any) -> Any:
    """Schedule a publish in one hour; `body` overrides what is sent."""
    at = (timezone.now() + ONE_HOUR).isoformat()
    return team.member(role).post(team.path("schedules"), {"at": at, **body})


def make_schedules_due(**filters: Any) -> None:
    with tenancy.context(tenancy.SYSTEM):
        now = timezone.now()
        Schedule.objects.filter(**filters).update(at=now, due_at=now - timedelta(seconds=1))


def live_title_and_release_count(team: Team) -> tuple[str | None, int]:
    """Return the title in the live release, None when the site is not live, and how many releases exist."""
    with tenancy.context(tenancy.SYSTEM):
        site = Site.objects.select_related("live_release").get(pk=team.site.pk)
        release = site.live_release
        title = release.blueprint["settings"]["title"] if release else None
        return title, Release.objects.filter(site=site).count()


def audit_events(team: Team, *names: str) -> list[str]:
    """Return the names of the site's audit entries with these event names, oldest first."""
    entries = Entry.objects.filter(site_id=team.site.pk, event__in=names)
    return list(entries.order_by("id").values_list("event", flat=True))
