"""The requests that are measured. Each run uses another site."""

import json
from collections.abc import Callable
from typing import Any

from benchmarks.content.documents import MARK, marked_block
from benchmarks.content.meter import InProcessServer
from benchmarks.content.seed import SITES_WITH_POSTS, SeededSite
from core.admission import cached_responses

SQL_GOAL_MS = 10.0
PAGE_NUMBER = 7  # a page in the middle of the site
RunOnce = Callable[[int], None]


def list_operations(
    process: InProcessServer, sites: list[SeededSite]
) -> dict[str, tuple[RunOnce, float | None]]:
    """By name: a function that runs one request, and its goal in milliseconds of SQL.

    Each kind of request has sites of its own.
    """
    written_sites = sites[200:]  # of many owners
    return {
        "list": (lambda number: list_sites(process, sites[0]), SQL_GOAL_MS),
        "save": (lambda number: save_draft(process, written_sites[number]), SQL_GOAL_MS),
        "patch block": (lambda number: patch_block(process, written_sites[100 + number]), None),
        "publish": (lambda number: publish_site(process, written_sites[200 + number]), SQL_GOAL_MS),
        "page, cold": (lambda number: open_page(process, written_sites[300 + number]), SQL_GOAL_MS),
        "page, from memory": (
            lambda number: open_cached_page(process, written_sites[300 + number]),
            SQL_GOAL_MS,
        ),
        "blog list, cold": (
            lambda number: open_blog(process, sites[-SITES_WITH_POSTS + number]),
            SQL_GOAL_MS,
        ),
        "public page, cold": (
            lambda number: read_public_page(process, written_sites[400 + number]),
            SQL_GOAL_MS,
        ),
    }


def list_sites(process: InProcessServer, site: SeededSite) -> None:
    """The first 20 of 200 sites, without the cached response of the admission middleware."""
    cached_responses.invalidate(f"sites-of:{site.owner}")
    body = process.expect(200, "GET", "/api/v1/sites", token=site.token)
    assert len(json.loads(body)["results"]) == 20


def read_draft(process: InProcessServer, site: SeededSite) -> dict[str, Any]:
    body = process.expect(200, "GET", f"/api/v1/sites/{site.id}/blueprint", token=site.token)
    blueprint: dict[str, Any] = json.loads(body)
    return blueprint


def save_draft(process: InProcessServer, site: SeededSite) -> None:
    document = read_draft(process, site)
    marked_block(document, PAGE_NUMBER)["props"]["text"] = f"{MARK}by a save"
    body = json.dumps(document, ensure_ascii=False).encode()  # as browsers send it
    process.expect(
        200, "PUT", f"/api/v1/sites/{site.id}/blueprint", body=body, if_match="*", token=site.token
    )


def patch_block(process: InProcessServer, site: SeededSite, text: str = "by a patch") -> None:
    body = json.dumps({"props": {"text": MARK + text, "level": 2}}).encode()
    process.expect(
        200,
        "PATCH",
        f"/api/v1/sites/{site.id}/blocks/mark-0",
        body=body,
        if_match="*",
        token=site.token,
    )


def publish_site(process: InProcessServer, site: SeededSite) -> None:
    process.expect(201, "POST", f"/api/v1/sites/{site.id}/publish", body=b"{}", token=site.token)


def open_page(process: InProcessServer, site: SeededSite, number: int = PAGE_NUMBER) -> None:
    """A page that is in no cache, of a host that is not in the map of this process."""
    assert MARK.encode() in process.expect(200, "GET", f"/page-{number}", host=site.host)


def open_cached_page(process: InProcessServer, site: SeededSite) -> None:
    """The page that `open_page` has put into the cache of the process."""
    process.expect(200, "GET", f"/page-{PAGE_NUMBER}", host=site.host)


def open_blog(process: InProcessServer, site: SeededSite) -> None:
    body = process.expect(200, "GET", "/blog", host=site.host)
    assert b"/blog/post-0" in body
    assert b"/blog/page/2" in body


def read_public_page(process: InProcessServer, site: SeededSite) -> None:
    body = process.expect(200, "GET", f"/api/v1/public/sites/{site.host}/pages?path=/page-{PAGE_NUMBER}")
    assert json.loads(body)["id"] == f"page-{PAGE_NUMBER}"
