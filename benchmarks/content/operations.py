"""What is asked, each time of another site."""

import json
from collections.abc import Callable
from typing import Any

from benchmarks.content.documents import MARK, text_of
from benchmarks.content.meter import Process, bearer
from benchmarks.content.seed import WITH_POSTS, Place
from core.admission import cached_responses

GOAL_MS = 10.0  # of SQL
PAGE = 7  # one in the middle
Once = Callable[[int], None]


def operations(process: Process, places: list[Place]) -> dict[str, tuple[Once, float | None]]:
    """By name: what one run does, and its goal in milliseconds of SQL. Each kind has sites of its own."""
    writes = places[200:]  # of many owners
    return {
        "list": (lambda number: ask_list(process, places[0]), GOAL_MS),
        "save": (lambda number: save(process, writes[number]), GOAL_MS),
        "patch block": (lambda number: patch(process, writes[100 + number]), None),
        "publish": (lambda number: publish(process, writes[200 + number]), GOAL_MS),
        "page, cold": (lambda number: page(process, writes[300 + number]), GOAL_MS),
        "page, from memory": (lambda number: again(process, writes[300 + number]), GOAL_MS),
        "blog list, cold": (lambda number: blog(process, places[-WITH_POSTS + number]), GOAL_MS),
        "public page, cold": (lambda number: public(process, writes[400 + number]), GOAL_MS),
    }


def ask_list(process: Process, place: Place) -> None:
    """Twenty of 200 sites; what the gate kept of them is forgotten first."""
    cached_responses.invalidate(f"sites-of:{place.owner}")
    body = process.expect(200, "GET", "/api/v1/sites", **bearer(place.token))
    assert len(json.loads(body)["results"]) == 20


def draft(process: Process, place: Place) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        process.expect(200, "GET", f"/api/v1/sites/{place.id}/blueprint", **bearer(place.token))
    )
    return found


def save(process: Process, place: Place) -> None:
    document = draft(process, place)
    text_of(document, PAGE)["props"]["text"] = f"{MARK}by a save"
    body = json.dumps(document, ensure_ascii=False).encode()  # as browsers send it
    process.expect(
        200, "PUT", f"/api/v1/sites/{place.id}/blueprint", body=body, if_match="*", **bearer(place.token)
    )


def patch(process: Process, place: Place, text: str = "by a patch") -> None:
    body = json.dumps({"props": {"text": MARK + text, "level": 2}}).encode()
    process.expect(
        200,
        "PATCH",
        f"/api/v1/sites/{place.id}/blocks/mark-0",
        body=body,
        if_match="*",
        **bearer(place.token),
    )


def publish(process: Process, place: Place) -> None:
    process.expect(201, "POST", f"/api/v1/sites/{place.id}/publish", body=b"{}", **bearer(place.token))


def page(process: Process, place: Place, number: int = PAGE) -> None:
    """A page that this process has not shown and Redis does not keep, of a host that this process does not
    know.
    """
    assert MARK.encode() in process.expect(200, "GET", f"/page-{number}", host=place.host)


def again(process: Process, place: Place) -> None:
    """The same page once more."""
    process.expect(200, "GET", f"/page-{PAGE}", host=place.host)


def blog(process: Process, place: Place) -> None:
    body = process.expect(200, "GET", "/blog", host=place.host)
    assert b"/blog/post-0" in body
    assert b"/blog/page/2" in body


def public(process: Process, place: Place) -> None:
    body = process.expect(200, "GET", f"/api/v1/public/sites/{place.host}/pages?path=/page-{PAGE}")
    assert json.loads(body)["id"] == f"page-{PAGE}"
