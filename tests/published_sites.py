"""Published sites for browser tests: the three templates, and every block with posts in both directions of
text.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.stack import Person, Web

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
    address: str
    paths: list[str]


def publish_blueprint(person: Person, blueprint: Any) -> str:
    """Publish `blueprint` with the posts above; the address of the site."""
    site = person.call("POST", "sites", {"name": "Browser", "subdomain": f"b{person.email[:11]}"}).json()
    saved = person.call("PUT", f"sites/{site['id']}/blueprint", blueprint, **{"If-Match": '"1"'})
    assert saved.status_code == 200, saved.text
    for post in POSTS:
        created = person.call(
            "POST", f"sites/{site['id']}/posts", {**post, "published_at": "2026-01-02T03:04:05Z"}
        )
        assert created.status_code == 201, created.text
    assert person.call("POST", f"sites/{site['id']}/publish").status_code == 201
    return f"http://{site['subdomain']}.localhost:{person.web.port}"


def publish_every_block(web: Web, locale: str) -> PublishedSite:
    """A site of a new owner with every block in `locale`."""
    person = Person(web)
    blueprint = {**EVERY_BLOCK, "settings": {**EVERY_BLOCK["settings"], "locale": locale}}
    address = publish_blueprint(person, blueprint)
    person.browser.close()
    return PublishedSite(address, [*(page["path"] for page in blueprint["pages"]), *POST_PATHS])


def publish_template(web: Web, template: str) -> PublishedSite:
    """A site of a new owner, started from `template`."""
    person = Person(web)
    site, host = person.publish(template=template)
    pages = person.call("GET", f"sites/{site}/blueprint").json()["pages"]
    person.browser.close()
    assert len(pages) >= 3
    return PublishedSite(f"http://{host}:{web.port}", [page["path"] for page in pages])
