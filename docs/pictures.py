"""Generate docs/images/blocks/: a screenshot of the first example of each block type in docs/blueprints.md.

Run it with `make pictures`.
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
    from playwright.sync_api import Locator, Page, Route

    from sites.selectors import PublishedPosts


DOCS = Path(__file__).parent
GUIDE = DOCS / "blueprints.md"
PICTURES = DOCS / "images" / "blocks"
EXAMPLE_DIGESTS = PICTURES / "made-from.json"  # a test compares it, to detect outdated pictures
GUIDE_URL = "http://guide.example"
# Lengths are CSS pixels.
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
# Put before the example, so that a heading in it is not rendered as the page's h1.
BLOCK_BEFORE = {
    "id": "before",
    "type": "spacer",
    "props": {"size": "small"},
}
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
    """Return the text of each section headed ### `name`, by the name of the block type."""
    parts = re.split(r"^### `([a-z]+)`\n|^## .*\n", guide, flags=re.MULTILINE)
    return {name: text for name, text in zip(parts[1::2], parts[2::2], strict=True) if name}


def json_examples(text: str) -> list[Any]:
    """Return every JSON example in `text`."""
    return [json.loads(code) for code in re.findall(r"^```json\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)]


def guide_blueprint(guide: str) -> dict[str, Any]:
    """Return the first example of the guide, a complete blueprint; the others are parts of a blueprint."""
    blueprint: dict[str, Any] = json_examples(guide)[0]
    return blueprint


def blueprint_with_blocks(guide: str, blocks: Any) -> dict[str, Any]:
    """Return the guide's blueprint with the blocks of its first page replaced by one block or a list."""
    document = deepcopy(guide_blueprint(guide))
    document["pages"][0]["blocks"] = deepcopy(blocks if isinstance(blocks, list) else [blocks])
    return document


def example_digest(guide: str, name: str) -> str:
    """Return a digest of the example of the block type `name` and of the blueprint around it."""
    document = blueprint_with_blocks(guide, json_examples(block_sections(guide)[name])[0])
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()[:16]


def sample_posts() -> "PublishedPosts":
    """Return a few published posts that need no database."""
    from accounts.models import User
    from sites.models import Post
    from sites.selectors import PublishedPosts

    class SamplePosts(PublishedPosts):
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

    return SamplePosts(UUID(int=0))


def render_first_page(document: dict[str, Any]) -> tuple[bytes, str]:
    """Validate `document` and render its first page. Returns HTML and its Content-Security-Policy."""
    from sites.blueprint.schema import validate_blueprint
    from sites.serving.rendering import RenderContext, render_page

    blueprint = validate_blueprint(document)
    rendered = render_page(blueprint, blueprint["pages"][0], RenderContext(GUIDE_URL, sample_posts()))
    return rendered.html, rendered.csp


def fulfill_request(route: "Route", html: bytes, csp: str) -> None:
    """Answer a request of the browser: the page itself, a shipped picture, or else a failed connection."""
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
    """Return the screenshot area: the height of all `boxes` across the whole width of the page.

    Boxes that do not fill the width get a margin above and below.
    """
    top = min(box["y"] for box in boxes)
    bottom = max(box["y"] + box["height"] for box in boxes)
    margin = MARGIN_PIXELS if min(box["x"] for box in boxes) else 0
    height = bottom - top + 2 * margin
    return {"x": 0, "y": top - margin, "width": VIEWPORT_WIDTH_PIXELS, "height": height}


def take_screenshot(page: "Page", guide: str, example: Any) -> bytes:
    """Render `example` and return a WebP screenshot of it, at most MAX_PICTURE_BYTES where possible."""
    document = blueprint_with_blocks(guide, example)
    blocks = document["pages"][0]["blocks"]
    blocks_before = 0 if blocks[0]["type"] == "hero" else 1
    blocks[:0] = [BLOCK_BEFORE][:blocks_before]
    html, csp = render_first_page(document)
    page.unroute_all()
    page.route("**/*", lambda route: fulfill_request(route, html, csp))
    page.goto(f"{GUIDE_URL}/")
    page.evaluate(SHOW_PICTURES)
    locators: list[Locator] = page.locator("main > .flow > [class*=block-]").all()[blocks_before:]
    return capture_webp(page, clip_around([locator.bounding_box() for locator in locators]))


def capture_webp(page: "Page", clip: dict[str, float]) -> bytes:
    """Capture the area `clip` in the best of WEBP_QUALITIES that fits into MAX_PICTURE_BYTES."""
    # Playwright itself offers PNG and JPEG only, so Chromium is asked through its protocol.
    devtools = page.context.new_cdp_session(page)
    for quality in WEBP_QUALITIES:
        options = {
            "format": "webp",
            "quality": quality,
            "clip": {**clip, "scale": 1},
            "captureBeyondViewport": True,
        }
        picture = base64.b64decode(devtools.send("Page.captureScreenshot", options)["data"])
        if len(picture) <= MAX_PICTURE_BYTES:
            break
    return picture


def main() -> None:
    """Write one picture for each block type, and the digests of their examples."""
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
        sections = block_sections(guide)
        for name, text in sections.items():
            picture = take_screenshot(page, guide, json_examples(text)[0])
            (PICTURES / f"{name}.webp").write_bytes(picture)
            sys.stdout.write(f"{name}: {len(picture)} bytes\n")
        browser.close()
    digests = {name: example_digest(guide, name) for name in sections}
    EXAMPLE_DIGESTS.write_text(json.dumps(digests, indent=2) + "\n")


if __name__ == "__main__":
    sys.path.insert(0, str(DOCS.parent))
    django.setup()
    main()
