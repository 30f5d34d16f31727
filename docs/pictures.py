"""Make docs/images/blocks/: each block type as its first example in docs/blueprints.md looks.

`make pictures`.
"""

import base64
import hashlib
import json
import re
import shutil
import sys
from copy import deepcopy
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import django

if TYPE_CHECKING:
    from playwright.sync_api import Page, Route

    from sites.selectors import PublishedPosts


DOCS = Path(__file__).parent
GUIDE = DOCS / "blueprints.md"
PICTURES = DOCS / "images" / "blocks"
EXAMPLE_DIGESTS = (
    PICTURES / "made-from.json"
)  # a digest of what each picture shows, so that a test sees an old one
GUIDE_URL = "http://guide.example"
# CSS pixels
VIEWPORT_WIDTH_PIXELS = 1280
VIEWPORT_HEIGHT_PIXELS = 720
MARGIN_PIXELS = 28
MAX_PICTURE_BYTES = 60_000
WEBP_QUALITIES = (82, 70, 58, 46, 34)
SHOW_PICTURES = """() => Promise.all([...document.images].map(image => {
    image.loading = 'eager';
    return image.decode();
}))"""
CHROMIUM_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
]
BLOCK_BEFORE = {
    "id": "before",
    "type": "spacer",
    "props": {"size": "small"},
}  # so that a heading is not the page's own
POSTS = [
    (
        "A second oven",
        "2026-09-14",
        "Mara Quill",
        "It came through the wall on a Tuesday. What changes, and what does not.",
    ),
    (
        "What we learned from rye",
        "2026-08-02",
        "Jonas Petts",
        "Three harvests, two mills and one stubborn starter.",
    ),
    (
        "Tarts for the plum season",
        "2026-07-19",
        "Noor Haddad",
        "Four weeks of plums from the orchard behind the church.",
    ),
]


def block_sections(guide: str) -> dict[str, str]:
    """The section of each block type by its name: they are headed ### `name`."""
    parts = re.split(r"^### `([a-z]+)`\n|^## .*\n", guide, flags=re.MULTILINE)
    return {name: text for name, text in zip(parts[1::2], parts[2::2], strict=True) if name}


def json_examples(text: str) -> list[Any]:
    """Every JSON example in `text`."""
    return [json.loads(code) for code in re.findall(r"^```json\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)]


def guide_blueprint(guide: str) -> dict[str, Any]:
    """The blueprint that the guide begins with; the other examples are parts of such a one."""
    first: dict[str, Any] = json_examples(guide)[0]
    return first


def blueprint_with_blocks(guide: str, blocks: Any) -> dict[str, Any]:
    """The guide's blueprint with `blocks`, or one block, on its first page instead of what is there."""
    document = deepcopy(guide_blueprint(guide))
    document["pages"][0]["blocks"] = deepcopy(blocks if isinstance(blocks, list) else [blocks])
    return document


def example_digest(guide: str, name: str) -> str:
    """Changes when the example of the block type `name` does, or the blueprint around it."""
    document = blueprint_with_blocks(guide, json_examples(block_sections(guide)[name])[0])
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()[:16]


def sample_posts() -> "PublishedPosts":
    """A few posts that are in no database."""
    from accounts.models import User
    from sites.models import Post
    from sites.selectors import PublishedPosts

    class Samples(PublishedPosts):
        def posts(self, *, tag: str = "", limit: int, offset: int = 0) -> list[Post]:
            return [
                Post(
                    slug=title.lower().replace(" ", "-"),
                    title=title,
                    excerpt=excerpt,
                    author=User(name=author),
                    published_at=datetime.fromisoformat(day).replace(tzinfo=UTC),
                )
                for title, day, author, excerpt in POSTS[offset : offset + limit]
            ]

    return Samples(UUID(int=0))


def render_first_page(document: dict[str, Any]) -> tuple[bytes, str]:
    """The first page of `document` as a visitor gets it: HTML, and the policy it is sent with."""
    from sites.blueprint.schema import validate_blueprint
    from sites.serving.rendering import RenderContext, render_page

    valid = validate_blueprint(document)
    rendered = render_page(valid, valid["pages"][0], RenderContext(GUIDE_URL, sample_posts()))
    return rendered.html, rendered.csp


def fulfill_request(route: "Route", html: bytes, csp: str) -> None:
    from sites.serving.template_pictures import shipped_files

    path = route.request.url.removeprefix(GUIDE_URL)
    if path == "/":
        route.fulfill(
            body=html, content_type="text/html; charset=utf-8", headers={"Content-Security-Policy": csp}
        )
    elif path in shipped_files():
        route.fulfill(path=shipped_files()[path])
    else:
        route.abort()


def clip_around(boxes: list[Any]) -> dict[str, float]:
    """What to photograph: all `boxes` across the whole page, with some air where they are not as wide as
    that.
    """
    top = min(box["y"] for box in boxes)
    bottom = max(box["y"] + box["height"] for box in boxes)
    air = MARGIN_PIXELS if min(box["x"] for box in boxes) else 0
    return {"x": 0, "y": top - air, "width": VIEWPORT_WIDTH_PIXELS, "height": bottom - top + 2 * air}


def take_screenshot(page: "Page", guide: str, example: Any) -> bytes:
    """What `example` looks like, as WebP."""
    document = blueprint_with_blocks(guide, example)
    blocks = document["pages"][0]["blocks"]
    before = 0 if blocks[0]["type"] == "hero" else 1
    blocks[:0] = [BLOCK_BEFORE][:before]
    html, csp = render_first_page(document)
    page.unroute_all()
    page.route("**/*", lambda route: fulfill_request(route, html, csp))
    page.goto(f"{GUIDE_URL}/")
    page.evaluate(SHOW_PICTURES)
    clip = clip_around(
        [part.bounding_box() for part in page.locator("main > .flow > [class*=block-]").all()[before:]]
    )
    # Chromium writes WebP itself; Playwright asks it for PNG and JPEG only.
    devtools = page.context.new_cdp_session(page)
    for quality in WEBP_QUALITIES:
        options = {
            "format": "webp",
            "quality": quality,
            "clip": {**clip, "scale": 1},
            "captureBeyondViewport": True,
        }
        taken = base64.b64decode(devtools.send("Page.captureScreenshot", options)["data"])
        if len(taken) <= MAX_PICTURE_BYTES:
            break
    return taken


def main() -> None:
    from playwright.sync_api import sync_playwright

    guide = GUIDE.read_text()
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if not chromium:
        sys.exit("Chromium is not installed (apt-get install chromium).")
    PICTURES.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_ARGUMENTS)
        page = browser.new_page(
            viewport={"width": VIEWPORT_WIDTH_PIXELS, "height": VIEWPORT_HEIGHT_PIXELS},
            reduced_motion="reduce",
            color_scheme="light",
        )
        for name, text in block_sections(guide).items():
            picture = take_screenshot(page, guide, json_examples(text)[0])
            (PICTURES / f"{name}.webp").write_bytes(picture)
            sys.stdout.write(f"{name}: {len(picture)} bytes\n")
        browser.close()
    EXAMPLE_DIGESTS.write_text(
        json.dumps({name: example_digest(guide, name) for name in block_sections(guide)}, indent=2) + "\n"
    )


if __name__ == "__main__":
    sys.path.insert(0, str(DOCS.parent))
    django.setup()
    main()
