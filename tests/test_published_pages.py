"""Published pages in Chromium, each opened once: layout, accessibility (axe) and use by keyboard.

Each page is checked in both window sizes and in both colour schemes, and each page with every block in both
directions of text, but not in every combination of them. `make soak` checks the other combinations too, and
also measures every focus indicator on desktop, in the light colour scheme.
"""

import base64
import os

import pytest

from tests.axe import find_violations, violations_if_serious
from tests.browser import (
    WINDOW_SIZES,
    PageErrors,
    broken_pictures,
    host_of,
    load_pictures,
    overflow_pixels,
    save_screenshot,
)
from tests.published_sites import TEMPLATES, publish_every_block, publish_template

pytestmark = pytest.mark.stack
SOAK = bool(os.environ.get("SOAK"))
OPPOSITE_COMBINATIONS = [("phone", "light"), ("desktop", "dark")]  # window size, colour scheme
FOCUS_MARGIN_PIXELS = 8  # CSS pixels around an element that a focus indicator may use

OPEN_FAQ_ANSWERS = "document.querySelectorAll('.faq-items details').forEach(details => details.open = true)"
SET_MENU = "open => document.querySelectorAll('.nav-small').forEach(menu => menu.open = open)"
# The elements that the Tab key reaches, in the order of the document.
FOCUSABLE = """() => [...document.querySelectorAll(
        'a[href], summary, button, input, select, textarea, iframe, [tabindex]')]
    .filter(element => element.tabIndex >= 0 && element.checkVisibility({visibilityProperty: true}))"""
# Records in `window.visited` which focusable element gets the focus, by its index. Returns their number.
RECORD_FOCUS = f"""() => {{
    const focusable = ({FOCUSABLE})()
    window.visited = []
    document.addEventListener('focusin', event => window.visited.push(focusable.indexOf(event.target)))
    return focusable.length
}}"""
FOCUSABLE_NAMES = f"() => ({FOCUSABLE})().map(element => element.outerHTML.slice(0, 120))"
# Counts the pixels that differ between two screenshots with a contrast of 3 to 1 or more (WCAG 2.2).
COUNT_CONTRASTING_PIXELS = """async pictures => {
    const linear = value => value <= 10 ? value / 3294.6 : ((value / 255 + 0.055) / 1.055) ** 2.4;
    const [before, after] = await Promise.all(pictures.map(async picture => {
        const response = await fetch('data:image/png;base64,' + picture);
        const bitmap = await createImageBitmap(await response.blob());
        const canvas = new OffscreenCanvas(bitmap.width, bitmap.height).getContext('2d');
        canvas.drawImage(bitmap, 0, 0);
        return canvas.getImageData(0, 0, bitmap.width, bitmap.height).data;
    }));
    const luminance = (data, i) =>
        0.2126 * linear(data[i]) + 0.7152 * linear(data[i + 1]) + 0.0722 * linear(data[i + 2]) + 0.05;
    let count = 0;
    for (let i = 0; i < before.length; i += 4) {
        if ([0, 1, 2].every(channel => before[i + channel] === after[i + channel])) continue;
        const [first, second] = [luminance(before, i), luminance(after, i)];
        count += Math.max(first, second) >= 3 * Math.min(first, second);
    }
    return count;
}"""


class SiteVisit:
    """A browser tab on one site, without animations.

    `errors` collects the errors of its pages, and `hosts` the hosts that they send requests to.
    """

    def __init__(self, browser, address):
        self.address = address
        self.context = browser.new_context(reduced_motion="reduce")
        self.comparison_page = self.context.new_page()  # compares screenshots in its JavaScript
        self.page = self.context.new_page()
        self.page.bring_to_front()  # a tab in the background is not drawn
        self.errors = PageErrors()
        self.errors.watch(self.page)
        self.hosts = set()
        self.page.on("request", lambda request: self.hosts.add(host_of(request.url)))
        self.measured_elements = set()

    def open(self, path, size):
        """Load a page in the light colour scheme, with the answers of all questions opened."""
        self.resize(size)
        self.page.emulate_media(color_scheme="light")
        self.page.goto(self.address + path)
        load_pictures(self.page)
        assert not self.page.evaluate("document.querySelectorAll('.faq-items details[open]').length"), path
        self.page.evaluate(OPEN_FAQ_ANSWERS)

    def resize(self, size):
        width, height = WINDOW_SIZES[size]
        self.page.set_viewport_size({"width": width, "height": height})

    def accessibility_violations(self, path, combinations=OPPOSITE_COMBINATIONS):
        """Run axe with all rules for these combinations of window size and colour scheme.

        With SOAK, all rules run for both sizes, and the rules about colours for all four combinations.
        """
        problems = []
        if SOAK:
            combinations = OPPOSITE_COMBINATIONS
        for size, scheme in combinations:
            self.resize(size)
            if SOAK:
                other_scheme = "light" if scheme == "dark" else "dark"
                self.page.emulate_media(color_scheme=other_scheme)
                problems += find_violations(self.page, f"{path} {size} {other_scheme}", contrast_only=True)
            self.page.emulate_media(color_scheme=scheme)
            problems += find_violations(self.page, f"{path} {size} {scheme}")
            if self.page.locator(".nav-small:visible").count():
                self.page.evaluate(SET_MENU, True)
                problems += find_violations(self.page, f"{path} {size} {scheme} menu", ".nav-small")
                self.page.evaluate(SET_MENU, False)
        return problems

    def layout_problems(self, path, name):
        """Find pages that are wider than the window, broken pictures, and a wrong number of main headings."""
        problems = []
        for size in WINDOW_SIZES:
            self.resize(size)
            load_pictures(self.page)  # another size may use other files
            if wider := overflow_pixels(self.page):
                problems.append(f"{path} {size}: {wider} pixels too wide")
            problems += [f"{path} {size}: {source} shows nothing" for source in broken_pictures(self.page)]
            save_screenshot(self.page, f"{name}-{path.strip('/').replace('/', '-') or 'home'}-{size}")
        if self.page.locator("h1").count() != 1:
            problems.append(f"{path}: not one main heading")
        return problems

    def keyboard_problems(self, path, size):
        """Press Tab through the newly opened page and back: the order must be that of the document.

        The skip link must be the first element, be visible, and work.
        """
        self.resize(size)
        elements = self.page.evaluate(RECORD_FOCUS)
        self.page.keyboard.press("Tab")
        assert self.page.locator(":focus").get_attribute("class") == "skip"
        assert self.page.locator(":focus").is_visible()
        for _ in range(elements - 1):
            self.page.keyboard.press("Tab")
        for _ in range(elements - 1):
            self.page.keyboard.press("Shift+Tab")
        self.page.keyboard.press("Enter")
        visited = self.page.evaluate("window.visited")
        skipped_to = self.page.evaluate("document.activeElement.id")
        forward = [*range(elements)]
        expected = [*forward, *reversed(forward[:-1])]
        if (visited[: len(expected)], skipped_to) == (expected, "_content"):
            return []
        return [f"{path} {size}: {visited}, then {skipped_to}"]

    def focus_indicator_problems(self, path, size, scheme):
        """Find elements whose focus indicator is thinner than WCAG 2.4.13 asks for.

        It asks for two pixels all round with a contrast of 3 to 1. The limit here is 1.5 pixels, because
        antialiased edges do not count.
        """
        self.open(path, size)
        self.page.emulate_media(color_scheme=scheme)
        problems = []
        for name in self.page.evaluate(FOCUSABLE_NAMES):
            self.page.keyboard.press("Tab")
            # On /bands the same element has other colours in each band, so each is measured.
            if path != "/bands" and name in self.measured_elements:
                continue
            self.measured_elements.add(name)
            if self.focus_indicator_width() < 1.5:
                problems.append(f"{path}: {name}")
        return problems

    def focus_indicator_width(self):
        """The mean width in pixels of the focused element's indicator. Pixels below 3 to 1 do not count."""
        element_box = self.page.evaluate("document.activeElement.getBoundingClientRect().toJSON()")
        viewport = self.page.viewport_size
        left = max(0, element_box["left"] - FOCUS_MARGIN_PIXELS)
        top = max(0, element_box["top"] - FOCUS_MARGIN_PIXELS)
        right = min(viewport["width"], element_box["right"] + FOCUS_MARGIN_PIXELS)
        bottom = min(viewport["height"], element_box["bottom"] + FOCUS_MARGIN_PIXELS)
        clip = {"x": left, "y": top, "width": right - left, "height": bottom - top}
        focused = self.screenshot(clip)
        self.page.evaluate("(window.held = document.activeElement).blur()")
        plain = self.screenshot(clip)
        self.page.evaluate("window.held.focus({preventScroll: true})")
        around = 2 * (min(element_box["width"], clip["width"]) + min(element_box["height"], clip["height"]))
        return self.comparison_page.evaluate(COUNT_CONTRASTING_PIXELS, [plain, focused]) / around

    def screenshot(self, clip):
        return base64.b64encode(self.page.screenshot(clip=clip, animations="disabled", caret="hide")).decode()

    def disclosure_problems(self, path, size):
        """Find `summary` elements that do not open and close with Enter and Space, or that lose the focus."""
        self.resize(size)
        state = "summary => [summary.parentElement.open, document.activeElement === summary]"
        problems = []
        for summary in self.page.locator("summary:visible").all():
            opened = summary.evaluate("summary => summary.parentElement.open")
            states = []
            for key in ("Enter", "Space", "Space", "Enter"):
                summary.press(key)
                states.append(summary.evaluate(state))
            if states != [[not opened, True], [opened, True], [not opened, True], [opened, True]]:
                problems.append(f"{path} {size}: {states}")
        return problems

    def menu_problems(self, path):
        """Find a phone menu that cannot be entered, walked through and left with the keyboard."""
        self.resize("phone")
        self.page.locator(".nav-small summary").press("Enter")
        for link in self.page.locator(".nav-small a").all():
            self.page.keyboard.press("Tab")
            if not link.evaluate("link => link === document.activeElement"):
                return [f"{path}: the menu is not walked in order"]
        self.page.keyboard.press("Tab")
        inside = self.page.evaluate("document.activeElement.closest('.nav-small')")
        return [f"{path}: the menu is not left"] if inside is not None else []


@pytest.fixture
def visit(browser):
    """Open a tab on a site: `visit(address)`."""
    visits = []

    def start_visit(address):
        visits.append(SiteVisit(browser, address))
        return visits[-1]

    yield start_visit
    for site_visit in visits:
        site_visit.context.close()


def combination_of(number, *, opposite):
    """The window size and the colour scheme for a page. Four pages in a row have the four combinations.

    With `opposite`, the page has the other size and the other scheme.
    """
    combinations = [(size, scheme) for size in WINDOW_SIZES for scheme in ("light", "dark")]
    return combinations[3 - number % 4 if opposite else number % 4]


def assert_pages_are_valid(visit, site, name, direction, *, both_directions=False, find_more_problems=None):
    """Open each page of `site` once, and assert what must be true of every page.

    `both_directions` tells that another test checks the same pages in the other direction of text. Then each
    of the two tests runs axe for one combination of size and scheme. `find_more_problems(path)` is called
    when a page is open.
    """
    problems = []
    accessibility = []
    for number, path in enumerate(site.paths):
        visit.open(path, list(WINDOW_SIZES)[number % 2])
        problems += find_more_problems(path) if find_more_problems else []
        visit.page.emulate_media(color_scheme="dark" if direction == "rtl" else "light")
        problems += visit.layout_problems(path, name)
        combinations = (
            [combination_of(number, opposite=direction == "rtl")]
            if both_directions
            else OPPOSITE_COMBINATIONS
        )
        accessibility += visit.accessibility_violations(path, combinations)
        assert visit.page.evaluate("document.documentElement.dir") == direction, path
        assert visit.page.context.cookies() == [], path
    assert (problems, violations_if_serious(accessibility), visit.errors.messages) == ([], [], [])
    assert visit.hosts <= {host_of(site.address), ""}, "a page sent a request to another host"


@pytest.mark.parametrize("template", TEMPLATES)
def test_published_pages_of_a_template_are_complete_and_accessible(stack, visit, template):
    site = publish_template(stack.webs[0], template)

    assert_pages_are_valid(visit(site.address), site, template, "ltr")


@pytest.mark.parametrize(
    ("locale", "direction", "keyboard_size"), [("en", "ltr", "phone"), ("ar", "rtl", "desktop")]
)
def test_published_pages_with_every_block_are_accessible_and_usable_by_keyboard(
    stack, visit, locale, direction, keyboard_size
):
    site = publish_every_block(stack.webs[0], locale)
    tab = visit(site.address)

    def find_keyboard_problems(path):
        problems = tab.keyboard_problems(path, keyboard_size)
        problems += tab.menu_problems(path)
        tab.page.evaluate(SET_MENU, False)
        return problems

    assert_pages_are_valid(
        tab,
        site,
        f"every-{locale}",
        direction,
        both_directions=True,
        find_more_problems=find_keyboard_problems,
    )
    problems = []
    for path in site.paths:
        if SOAK:
            other_size = next(size for size in WINDOW_SIZES if size != keyboard_size)
            tab.open(path, other_size)
            problems += tab.keyboard_problems(path, other_size)
        if locale == "ar":
            problems += tab.focus_indicator_problems(path, "phone", "dark")
        elif SOAK:
            problems += tab.focus_indicator_problems(path, "desktop", "light")
        else:
            tab.open(path, keyboard_size)
        problems += tab.disclosure_problems(
            path, keyboard_size
        )  # last: a frame asks another host when it opens
    assert problems == []


@pytest.mark.parametrize("site", ["bakery", "ar"])
def test_published_404_page_has_the_design_of_the_site_and_is_accessible(stack, visit, site):
    published = (
        publish_template(stack.webs[0], site)
        if site in TEMPLATES
        else publish_every_block(stack.webs[0], site)
    )
    tab = visit(published.address)

    tab.open("/nowhere", "phone")

    assert tab.errors.messages
    assert all("404" in message for message in tab.errors.messages)
    assert violations_if_serious(tab.accessibility_violations("/nowhere")) == []
    assert tab.layout_problems("/nowhere", f"missing-{site}") == []
    if site == "bakery":
        assert "Marlow & Rye" in tab.page.title()


def test_account_pages_are_accessible(stack, visit):
    tab = visit(f"http://localhost:{stack.webs[0].port}/account/")
    problems = []
    for path in (
        "verify-email#token",
        "forgot-password",
        "reset-password",
        "reset-password#token",
        "invitation#token",
    ):
        tab.page.goto("about:blank")  # a change of the fragment alone would not load the page again
        tab.open(path, "phone")
        problems += tab.accessibility_violations(path)

    assert violations_if_serious(problems) == []


def test_published_pages_are_usable_by_keyboard_without_scripts(stack, open_page):
    site = publish_template(stack.webs[0], "bakery")

    page = open_page(f"{site.address}/", "phone", java_script_enabled=False)
    page.keyboard.press("Tab")
    assert page.locator(":focus").inner_text() == "Skip to content"
    page.locator("header summary").press("Enter")
    page.locator("header nav a:visible").nth(1).press("Enter")
    page.wait_for_load_state()

    assert (page.url.endswith("/"), page.errors) == (False, [])
