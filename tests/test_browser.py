"""The main job in a real browser: sign up, start from a template, publish, and look at the site."""

import json
import shutil
from pathlib import Path

import pytest

from config.testing import VAR

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.stack,
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM, reason="browser test: Chromium is not installed (apt-get install chromium)"),
]
PICTURES = VAR / "screenshots"
SIZES = {"phone": (390, 844), "desktop": (1280, 900)}
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"]  # fmt: skip
EVERY_BLOCK = json.loads((Path(__file__).parent.parent / "sites" / "tests" / "every_block.json").read_text())

POSTS = [
    {"title": "How our sourdough is made", "slug": "sourdough", "excerpt": "Flour, water, salt, and thirty-six hours.", "tags": ["bread & butter", "خبز"], "blocks": EVERY_BLOCK["pages"][0]["blocks"][:12]},
    {"title": "A <b>title</b> that is so long that it needs several lines on a telephone, and an unbreakable-" + "word" * 20, "slug": "long", "tags": ["bread & butter"] + [f"tag {n}" for n in range(12)]},
    *({"title": f"Note {n}", "slug": f"note-{n}"} for n in range(10)),
]  # fmt: skip
PATHS_OF_POSTS = ["/blog", "/blog/page/2", "/blog/tag/bread%20%26%20butter", "/blog/sourdough", "/blog/long"]


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield running
        running.close()


@pytest.fixture
def look(browser):
    """Open an address and return the page with everything that went wrong on it."""
    contexts = []

    def opened(address, size="desktop", **options):
        width, height = SIZES[size]
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        page = context.new_page()
        page.troubles = []
        page.on(
            "console",
            lambda message: page.troubles.append(message.text) if message.type in {"error", "warning"} else None,
        )
        page.on("pageerror", lambda error: page.troubles.append(str(error)))
        page.on("requestfailed", lambda request: page.troubles.append(f"failed: {request.url}"))
        page.on(
            "response",
            lambda response: (
                page.troubles.append(f"{response.status}: {response.url}") if response.status >= 400 else None
            ),
        )
        page.goto(address, wait_until="networkidle")
        height = page.evaluate("document.documentElement.scrollHeight")
        for _ in range(0, height, 2 * SIZES[size][1]):  # to the end, so that every lazy picture is asked for
            page.mouse.wheel(0, 2 * SIZES[size][1])
        page.wait_for_load_state("networkidle")
        return page

    yield opened
    for context in contexts:
        context.close()


def picture(page, name):
    PICTURES.mkdir(parents=True, exist_ok=True)
    page.evaluate("window.scrollTo(0, 0)")
    page.screenshot(path=PICTURES / f"{name}.png", full_page=True)


def overflow(page):
    return page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")


def broken_pictures(page):
    return page.evaluate("[...document.images].filter(i => i.complete && !i.naturalWidth).map(i => i.src)")


def publish(person, blueprint):
    made = person.call("POST", "sites", {"name": "Browser", "subdomain": f"b{person.email[:11]}"}).json()
    saved = person.call("PUT", f"sites/{made['id']}/blueprint", blueprint, **{"If-Match": '"1"'})
    assert saved.status_code == 200, saved.text
    for post in POSTS:
        written = person.call("POST", f"sites/{made['id']}/posts", {**post, "published_at": "2026-01-02T03:04:05Z"})
        assert written.status_code == 201, written.text
    assert person.call("POST", f"sites/{made['id']}/publish").status_code == 201
    return f"http://{made['subdomain']}.localhost:{person.web.port}"


@pytest.mark.parametrize("template", ["bakery", "consultancy", "portfolio"])
@pytest.mark.parametrize("size", SIZES)
def test_a_template_is_published_and_looks_whole(person, look, template, size):
    site, host = person.publish(template=template)
    address = f"http://{host}:{person.web.port}"
    paths = [page["path"] for page in person.call("GET", f"sites/{site}/blueprint").json()["pages"]]
    assert len(paths) >= 3

    for path in paths:
        page = look(address + path, size)
        assert (page.troubles, overflow(page), broken_pictures(page)) == ([], 0, []), path
        assert page.locator("h1").count() == 1
        assert page.context.cookies() == []
        picture(page, f"{template}-{path.strip('/') or 'home'}-{size}")


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("locale", "scheme"), [("en", "light"), ("ar", "dark")])
def test_every_block_holds_together_in_both_directions_and_schemes(person, look, size, scheme, locale):
    blueprint = {**EVERY_BLOCK, "settings": {**EVERY_BLOCK["settings"], "locale": locale}}
    address = publish(person, blueprint)

    for path in [*(page["path"] for page in blueprint["pages"]), *PATHS_OF_POSTS]:
        page = look(address + path, size, color_scheme=scheme)
        assert (page.troubles, overflow(page), broken_pictures(page)) == ([], 0, []), path
        assert page.evaluate("document.documentElement.dir") == ("rtl" if locale == "ar" else "ltr")
        assert page.locator("h1").count() == 1
        picture(page, f"every-{path.strip('/').replace('/', '-') or 'home'}-{locale}-{scheme}-{size}")


def test_a_visitor_goes_through_the_site_by_keyboard_and_without_scripts(person, look):
    _, host = person.publish(template="bakery")

    page = look(f"http://{host}:{person.web.port}/", "phone", java_script_enabled=False)
    page.keyboard.press("Tab")
    assert page.locator(":focus").inner_text() == "Skip to content"
    page.locator("header summary").press("Enter")
    page.locator("header nav a:visible").nth(1).press("Enter")
    page.wait_for_load_state()

    assert (page.url.endswith("/"), page.troubles) == (False, [])


def test_nothing_is_asked_of_anybody_else(person, look):
    address = publish(person, EVERY_BLOCK)
    asked = set()

    for path in [page["path"] for page in EVERY_BLOCK["pages"]]:
        page = look(address + path)
        asked |= set(page.evaluate("performance.getEntriesByType('resource').map(entry => new URL(entry.name).host)"))

    assert asked <= {address.removeprefix("http://")}


def test_a_missing_page_is_the_sites_own(person, look):
    _, host = person.publish(template="portfolio")

    page = look(f"http://{host}:{person.web.port}/nowhere")

    assert page.troubles == [f"404: http://{host}:{person.web.port}/nowhere"] or all(
        "404" in trouble for trouble in page.troubles
    )
    assert "Ines Calder" in page.title()
    picture(page, "missing-desktop")


def test_the_api_docs_and_the_admin_open_without_an_error(person, look):
    for path in ("/", "/api/docs", "/admin/login/"):
        page = look(person.web.url + path)
        assert page.troubles == [], path
        picture(page, f"app-{path.strip('/').replace('/', '-') or 'home'}-desktop")
    assert page.locator("input[type=password]").count() == 1


def test_staff_see_the_timeline_of_the_trail(stack, person, look):
    person.publish()
    email = f"staff-{person.email}"
    stack.manage("create_admin", email, ADMIN_PASSWORD="correct horse battery staple")

    page = look(f"{person.web.url}/admin/login/?next=/admin/audit/entry/")
    page.fill("input[name=username]", email)
    page.fill("input[name=password]", "correct horse battery staple")
    page.click("input[type=submit]")
    page.wait_for_load_state("networkidle")

    assert "/admin/audit/entry/" in page.url
    assert page.troubles == []
    assert page.locator("[role=img] > div").count() >= 1
    assert page.get_by_text("site.published").count() >= 1
    page.click("input[value='Verify the whole trail']")
    page.get_by_text("The trail is whole").wait_for()
    picture(page, "admin-timeline-desktop")
