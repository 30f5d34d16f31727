"""What visitors who cannot see well, or use no mouse, meet: axe finds nothing grave, and the keyboard reaches everything."""

import base64
import os
from dataclasses import dataclass

import pytest
from axe_playwright_python.sync_playwright import Axe

from tests.stack import Person
from tests.test_browser import CHROMIUM, EVERY_BLOCK, PATHS_OF_POSTS, SIZES, browser, publish  # noqa: F401 - `browser` is a fixture

pytestmark = [
    pytest.mark.stack,
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM, reason="browser test: Chromium is not installed (apt-get install chromium)"),
]
GRAVE = {"serious", "critical"}
TEMPLATES = ["bakery", "consultancy", "portfolio"]
OPTIONS = {"resultTypes": ["violations"], "iframes": False}  # frames belong to others, and stay closed here
MARGIN = 8  # CSS pixels around an element that a focus indicator may use

UNFOLD = "document.querySelectorAll('.faq-items details').forEach(details => details.open = true)"
OPEN_MENU = "document.querySelectorAll('.nav-small').forEach(menu => menu.open = true)"
# What can be reached with the Tab key, in the order of the document.
REACHABLE = """() => [...document.querySelectorAll('a[href], summary, button, input, select, textarea, iframe, [tabindex]')]
    .filter(element => element.tabIndex >= 0 && element.checkVisibility({visibilityProperty: true}))"""
WHERE = f"() => ({REACHABLE})().indexOf(document.activeElement)"
NAMES = f"() => ({REACHABLE})().map(element => element.outerHTML.slice(0, 120))"
# How many pixels of two screenshots differ with a contrast of 3 to 1 or more.
COMPARE = """async pictures => {
    const light = value => value <= 10 ? value / 3294.6 : ((value / 255 + 0.055) / 1.055) ** 2.4;
    const [before, after] = await Promise.all(pictures.map(async picture => {
        const bitmap = await createImageBitmap(await (await fetch('data:image/png;base64,' + picture)).blob());
        const paper = new OffscreenCanvas(bitmap.width, bitmap.height).getContext('2d');
        paper.drawImage(bitmap, 0, 0);
        return paper.getImageData(0, 0, bitmap.width, bitmap.height).data;
    }));
    const luminance = (data, i) => 0.2126 * light(data[i]) + 0.7152 * light(data[i + 1]) + 0.0722 * light(data[i + 2]) + 0.05;
    let found = 0;
    for (let i = 0; i < before.length; i += 4) {
        if (before[i] === after[i] && before[i + 1] === after[i + 1] && before[i + 2] === after[i + 2]) continue;
        const [one, other] = [luminance(before, i), luminance(after, i)];
        found += Math.max(one, other) >= 3 * Math.min(one, other);
    }
    return found;
}"""


@dataclass
class Published:
    address: str
    paths: list[str]


@pytest.fixture(scope="module")
def published(stack):
    """Sites by name, each published once: the templates, and every block in both directions of text."""
    sites = {}
    for template in TEMPLATES:
        person = Person(stack.webs[0])
        site, host = person.publish(template=template)
        pages = person.call("GET", f"sites/{site}/blueprint").json()["pages"]
        person.browser.close()
        sites[template] = Published(f"http://{host}:{person.web.port}", [page["path"] for page in pages])
    for locale in ("en", "ar"):
        person = Person(stack.webs[0])
        blueprint = {**EVERY_BLOCK, "settings": {**EVERY_BLOCK["settings"], "locale": locale}}
        address = publish(person, blueprint)
        person.browser.close()
        sites[locale] = Published(address, [*(page["path"] for page in blueprint["pages"]), *PATHS_OF_POSTS])
    return sites


@pytest.fixture
def tab(browser):  # noqa: F811
    """One tab that asks our own servers only, and in which nothing moves."""
    context = browser.new_context(reduced_motion="reduce")
    context.route(lambda url: ".localhost:" not in url and "//localhost:" not in url, lambda route: route.abort())
    yield context.new_page()
    context.close()


def faults(page, where, context=None):
    """What axe says about `page` as it stands: impact and words. It comes in over the debugging protocol, so the CSP holds."""
    found = Axe().run(page, context=context, options=OPTIONS).response["violations"]
    return [
        (fault["impact"], f"{where}: {fault['impact']}: {fault['id']}: {node['html'][:160]}")
        for fault in found
        for node in fault["nodes"]
    ]


def in_every_light_and_size(page, address):
    found = []
    for size, (width, height) in SIZES.items():
        page.set_viewport_size({"width": width, "height": height})
        page.goto(address)
        page.evaluate(UNFOLD)
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            found += faults(page, f"{address} {size} {scheme}")
        if page.locator(".nav-small:visible").count():
            page.evaluate(OPEN_MENU)
            found += faults(page, f"{address} {size} menu", ".nav-small")
    return found


def grave(found):
    """Every fault, to be read, when one of them is grave; nothing otherwise."""
    return [words for _, words in found] if any(impact in GRAVE for impact, _ in found) else []


@pytest.mark.parametrize("site", [*TEMPLATES, "en", "ar"])
def test_axe_finds_nothing_grave_on_a_published_page(published, tab, site):
    found = []
    for path in published[site].paths:
        found += in_every_light_and_size(tab, published[site].address + path)

    assert grave(found) == []


@pytest.mark.parametrize("site", ["bakery", "ar"])
def test_axe_finds_nothing_grave_where_there_is_no_page(published, tab, site):
    assert grave(in_every_light_and_size(tab, published[site].address + "/nowhere")) == []


@pytest.mark.parametrize(
    "page", ["verify-email#token", "forgot-password", "reset-password", "reset-password#token", "invitation#token"]
)
def test_axe_finds_nothing_grave_on_an_account_page(stack, tab, page):
    assert grave(in_every_light_and_size(tab, f"http://localhost:{stack.webs[0].port}/account/{page}")) == []


def shot(page, box):
    taken = page.screenshot(clip=box, animations="disabled", caret="hide")
    return base64.b64encode(taken).decode()


def thickness(page, paper):
    """How many pixels wide, all round, the indicator of what has the focus is; only what stands out 3 to 1 counts."""
    here = page.evaluate("document.activeElement.getBoundingClientRect().toJSON()")
    left, top = max(0, here["left"] - MARGIN), max(0, here["top"] - MARGIN)
    right = min(page.viewport_size["width"], here["right"] + MARGIN)
    bottom = min(page.viewport_size["height"], here["bottom"] + MARGIN)
    box = {"x": left, "y": top, "width": right - left, "height": bottom - top}
    focused = shot(page, box)
    page.evaluate("(window.held = document.activeElement).blur()")
    plain = shot(page, box)
    page.evaluate("window.held.focus({preventScroll: true})")
    around = 2 * (min(here["width"], box["width"]) + min(here["height"], box["height"]))
    return paper.evaluate(COMPARE, [plain, focused]) / around


@pytest.fixture
def through(published, tab):
    """Every page with every block, one after the other in `tab`, at the size and in the light that is asked for."""

    def opened(site, size, scheme="light"):
        width, height = SIZES[size]
        tab.set_viewport_size({"width": width, "height": height})
        tab.emulate_media(color_scheme=scheme)
        for path in published[site].paths:
            tab.goto(published[site].address + path)
            yield path

    return opened


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("site", ["en", "ar"])
def test_the_tab_key_goes_through_a_page_in_the_order_of_the_document_and_back(tab, through, site, size):
    for path in through(site, size):
        tab.evaluate(UNFOLD)
        things = range(len(tab.evaluate(NAMES)))
        forth, back = [], []
        for _ in things:
            tab.keyboard.press("Tab")
            forth.append(tab.evaluate(WHERE))
            if len(forth) == 1:
                assert tab.locator(":focus").get_attribute("class") == "skip"
                assert tab.locator(":focus").is_visible()
        for _ in things[1:]:
            tab.keyboard.press("Shift+Tab")
            back.append(tab.evaluate(WHERE))

        assert (forth, back) == ([*things], [*reversed(things[:-1])]), path
        tab.keyboard.press("Enter")
        assert tab.evaluate("document.activeElement.id") == "_content", path


SOAK = bool(os.environ.get("SOAK"))
WHOLE = [("en", "desktop", "light"), ("ar", "phone", "dark")]


@pytest.mark.parametrize(("site", "size", "scheme"), WHOLE if SOAK else WHOLE[1:])
def test_whatever_has_the_focus_shows_it(tab, through, site, size, scheme):
    """At least as WCAG 2.4.13 wants it: two pixels all round, 3 to 1. At half a pixel some of it counts for nothing."""
    paper, seen, hardly = tab.context.new_page(), set(), []
    for path in through(site, size, scheme):
        tab.evaluate(UNFOLD)
        for name in tab.evaluate(NAMES):
            tab.keyboard.press("Tab")
            if path == "/bands" or name not in seen:  # the same in another band has other colours
                seen.add(name)
                hardly += [f"{path}: {name}"] if thickness(tab, paper) < 1.5 else []

    assert hardly == []


@pytest.mark.parametrize(("site", "size"), [("en", "phone"), ("ar", "desktop")])
def test_whatever_opens_does_so_with_enter_and_with_space(tab, through, site, size):
    for path in through(site, size):
        for summary in tab.locator("summary:visible").all():
            opened = "summary => [summary.parentElement.open, document.activeElement === summary]"
            states = []
            for key in ("Enter", "Space", "Space", "Enter"):
                summary.press(key)
                states.append(summary.evaluate(opened))

            assert states == [[True, True], [False, True], [True, True], [False, True]], path


@pytest.mark.parametrize("site", ["en", "ar"])
def test_the_menu_of_a_phone_is_entered_and_left_by_keyboard(tab, through, site):
    for path in through(site, "phone"):
        tab.locator(".nav-small summary").press("Enter")
        links = tab.locator(".nav-small a").all()
        for link in links:
            tab.keyboard.press("Tab")
            assert link.evaluate("link => link === document.activeElement"), path
        tab.keyboard.press("Tab")
        assert tab.evaluate("document.activeElement.closest('.nav-small')") is None, path
