"""Published sites for browser tests: the three site templates, and a site with every block type and posts.

The posts have text in both directions (left to right, right to left).
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.stack import RegisteredUser, WebProcess

TEMPLATES = ["bakery", "consultancy", "portfolio"]
EVERY_BLOCK = json.loads((Path(__file__).parent.parent / "sites" / "tests" / "every_block.json").read_text())
LONG_TITLE = (
    "A <b>title</b> that is so long that it needs several lines on a telephone, and an unbreakable-"
    + "word" * 20
)
POSTS: list[dict[str, Any]] = [
    {
        "title": "How our sourdough is made",
        "slug": "sourdough",
        "excerpt": "Flour, water, salt, and thirty-six hours.",
        "tags": ["bread & butter", "خبز"],
        "blocks": EVERY_BLOCK["pages"][0]["blocks"][:12],
    },
    {"title": LONG_TITLE, "slug": "long", "tags": ["bread & butter"] + [f"tag {n}" for n in range(12)]},
    *({"title": f"Note {n}", "slug": f"note-{n}"} for n in range(10)),
]
POST_PATHS = ["/blog", "/blog/page/2", "/blog/tag/bread%20%26%20butter", "/blog/sourdough", "/blog/long"]


@dataclass
class PublishedSite:
    """A live site: its address without a final slash, and the paths of its pages."""

    address: str
    paths: list[str]


def publish_blueprint(person: RegisteredUser, blueprint: Any) -> str:
    """Publish a site with `blueprint` and `POSTS`; return its address."""
    site = person.call("POST", "sites", {"name": "Browser", "subdomain": f"b{person.email[:11]}"}).json()
    response = person.call("PUT", f"sites/{site['id']}/blueprint", blueprint, **{"If-Match": '"1"'})
    assert response.status_code == 200, response.text
    for post in POSTS:
        response = person.call(
            "POST", f"sites/{site['id']}/posts", {**post, "published_at": "2026-01-02T03:04:05Z"}
        )
        assert response.status_code == 201, response.text
    assert person.call("POST", f"sites/{site['id']}/publish").status_code == 201
    return f"http://{site['subdomain']}.localhost:{person.web.port}"


def publish_every_block(web: WebProcess, locale: str) -> PublishedSite:
    """Register an owner and publish a site with every block type in `locale`."""
    person = RegisteredUser(web)
    blueprint = {**EVERY_BLOCK, "settings": {**EVERY_BLOCK["settings"], "locale": locale}}
    address = publish_blueprint(person, blueprint)
    person.browser.close()
    return PublishedSite(address, [*(page["path"] for page in blueprint["pages"]), *POST_PATHS])


def publish_template(web: WebProcess, template: str) -> PublishedSite:
    """Register an owner and publish a site that was created from `template`."""
    person = RegisteredUser(web)
    site_id, host = person.publish(template=template)
    pages = person.call("GET", f"sites/{site_id}/blueprint").json()["pages"]
    person.browser.close()
    assert len(pages) >= 3
    return PublishedSite(f"http://{host}:{web.port}", [page["path"] for page in pages])
