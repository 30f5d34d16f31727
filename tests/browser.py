"""Chromium for tests: one process for each test worker, and a new browser context for each test.

A test that uses a fixture of this module gets the marker `browser`. Without Chromium it is skipped.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest

from config.testing import VAR
from tests.stack import wait_until

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
SCREENSHOT_FOLDER = VAR / "screenshots"
WINDOW_SIZES = {"phone": (390, 844), "desktop": (1280, 900)}  # CSS pixels: width, height
CHROMIUM_ARGUMENTS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-backgrounding-occluded-windows",
    "--disable-renderer-backgrounding",
    "--enable-automation",
    "--force-color-profile=srgb",
    "--hide-scrollbars",
    "--no-first-run",
    # Other hosts do not resolve, so a request to one fails at once.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost, EXCLUDE *.localhost",
    "--remote-debugging-port=0",
]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark browser tests, and skip them with a reason where Chromium is missing."""
    for item in items:
        if "chromium" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.browser)
            if not CHROMIUM:
                item.add_marker(
                    pytest.mark.skip(reason="Chromium is not installed (apt-get install chromium)")
                )


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the debugging protocol of this worker's Chromium."""
    assert CHROMIUM
    profile = tmp_path_factory.mktemp("chromium")
    command = [CHROMIUM, *CHROMIUM_ARGUMENTS, f"--user-data-dir={profile}", "about:blank"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, process_group=0)
    port_file = profile / "DevToolsActivePort"
    wait_until(lambda: port_file.exists() and len(port_file.read_text().splitlines()) == 2, seconds=30)
    yield f"http://127.0.0.1:{port_file.read_text().splitlines()[0]}"
    process.terminate()
    process.wait(20)


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Any]:
    """Playwright's connection to Chromium.

    Playwright runs an event loop in this thread, so the connection ends with the module.
    """
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=30_000)  # milliseconds, as for every other wait
    with sync_playwright() as playwright:
        connection = playwright.chromium.connect_over_cdp(chromium)
        yield connection
        connection.close()


@dataclass
class PageErrors:
    """Collects the errors of a page as text.

    These are console errors and warnings, exceptions, failed requests and responses with an error status.
    """

    messages: list[str] = field(default_factory=list)

    def watch(self, page: Any) -> None:
        """Collect the errors of `page` from now on."""
        page.on("console", self._on_console)
        page.on("pageerror", lambda error: self.messages.append(str(error)))
        page.on("requestfailed", self._on_failed_request)
        page.on("response", self._on_response)

    def _on_console(self, message: Any) -> None:
        if message.type in {"error", "warning"}:
            self.messages.append(message.text)

    def _on_failed_request(self, request: Any) -> None:
        # Chromium cancels a picture that a resize or a navigation makes unnecessary; that is not an error.
        if request.failure != "net::ERR_ABORTED":
            self.messages.append(f"failed: {request.url}")

    def _on_response(self, response: Any) -> None:
        if response.status >= 400:
            self.messages.append(f"{response.status}: {response.url}")


@pytest.fixture
def open_page(browser: Any) -> Iterator[Any]:
    """Open pages, each in a browser context of its own.

    `open_page(address, size)` returns Playwright's page; `page.errors` lists the errors of the page as text.
    """
    contexts = []

    def open_in_new_context(address: str, size: str = "desktop", **options: Any) -> Any:
        width, height = WINDOW_SIZES[size]
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        page = context.new_page()
        errors = PageErrors()
        errors.watch(page)
        page.errors = errors.messages
        page.goto(address, wait_until="load")
        if options.get("java_script_enabled", True):
            load_pictures(page)
        return page

    yield open_in_new_context
    for context in contexts:
        context.close()


def load_pictures(page: Any) -> None:
    """Load also the pictures with `loading="lazy"`."""
    page.evaluate(
        """async () => {
            for (const image of document.images) image.loading = 'eager'
            await Promise.all([...document.images].map(image => image.decode().catch(() => {})))
        }"""
    )


def save_screenshot(page: Any, name: str) -> None:
    """With SCREENSHOTS=1 in the environment, save a screenshot of the whole page as `<name>.png`."""
    if not os.environ.get("SCREENSHOTS"):
        return
    SCREENSHOT_FOLDER.mkdir(parents=True, exist_ok=True)
    page.evaluate("window.scrollTo(0, 0)")
    page.screenshot(path=SCREENSHOT_FOLDER / f"{name}.png", full_page=True)


def overflow_pixels(page: Any) -> int:
    """CSS pixels by which the page is wider than the window."""
    return int(page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


def broken_pictures(page: Any) -> list[str]:
    """The addresses of pictures that were loaded but could not be decoded."""
    sources: list[str] = page.evaluate(
        "[...document.images].filter(i => i.complete && !i.naturalWidth).map(i => i.src)"
    )
    return sources


def host_of(url: str) -> str:
    """Host and port of an address. Empty for `data:` and other addresses without a host."""
    return urlsplit(url).netloc
