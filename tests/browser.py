"""Chromium for tests: one process for each test worker, and a fresh context for each test.

A test that uses a fixture of this module gets the marker `browser`; without Chromium it is skipped.
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
from tests.stack import eventually

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
PICTURES = VAR / "screenshots"
SIZES = {"phone": (390, 844), "desktop": (1280, 900)}
ARGUMENTS = [
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
    # Other hosts do not exist: a page that asks for one fails at once.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost, EXCLUDE *.localhost",
    "--remote-debugging-port=0",
]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark browser tests, and skip them where Chromium is missing, with the reason."""
    for item in items:
        if "chromium" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.browser)
            if not CHROMIUM:
                item.add_marker(
                    pytest.mark.skip(reason="Chromium is not installed (apt-get install chromium)")
                )


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The debugging address of this worker's Chromium."""
    assert CHROMIUM
    profile = tmp_path_factory.mktemp("chromium")
    command = [CHROMIUM, *ARGUMENTS, f"--user-data-dir={profile}", "about:blank"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, process_group=0)
    port_file = profile / "DevToolsActivePort"
    eventually(lambda: port_file.exists() and len(port_file.read_text().splitlines()) == 2, seconds=30)
    yield f"http://127.0.0.1:{port_file.read_text().splitlines()[0]}"
    process.terminate()
    process.wait(20)


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Any]:
    """Playwright's connection to Chromium.

    Its event loop belongs to the thread, so it ends with the module.
    """
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=30_000)  # milliseconds, as for every other wait
    with sync_playwright() as playwright:
        connected = playwright.chromium.connect_over_cdp(chromium)
        yield connected
        connected.close()


@dataclass
class Troubles:
    """Everything that goes wrong on a page, as text: console errors, exceptions, failed requests and error
    statuses.
    """

    found: list[str] = field(default_factory=list)

    def watch(self, page: Any) -> None:
        page.on(
            "console",
            lambda message: self._add(message.text) if message.type in {"error", "warning"} else None,
        )
        page.on("pageerror", lambda error: self._add(str(error)))
        # Chromium cancels a picture that a resize or a navigation makes unnecessary; that is not an error.
        page.on(
            "requestfailed",
            lambda request: (
                self._add(f"failed: {request.url}") if request.failure != "net::ERR_ABORTED" else None
            ),
        )
        page.on(
            "response",
            lambda response: (
                self._add(f"{response.status}: {response.url}") if response.status >= 400 else None
            ),
        )

    def _add(self, text: str) -> None:
        self.found.append(text)


@pytest.fixture
def look(browser: Any) -> Iterator[Any]:
    """Open an address in a context of its own: `look(address, size)` returns the page, with its troubles as
    `page.troubles`.
    """
    contexts = []

    def open_page(address: str, size: str = "desktop", **options: Any) -> Any:
        width, height = SIZES[size]
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        page = context.new_page()
        troubles = Troubles()
        troubles.watch(page)
        page.troubles = troubles.found
        page.goto(address, wait_until="load")
        if options.get("java_script_enabled", True):
            load_pictures(page)
        return page

    yield open_page
    for context in contexts:
        context.close()


def load_pictures(page: Any) -> None:
    """Load the pictures that wait until they are scrolled into view."""
    page.evaluate(
        """async () => {
            for (const image of document.images) image.loading = 'eager'
            await Promise.all([...document.images].map(image => image.decode().catch(() => {})))
        }"""
    )


def picture(page: Any, name: str) -> None:
    """Keep a screenshot of the whole page for a person to look at, where the environment has SCREENSHOTS=1."""
    if not os.environ.get("SCREENSHOTS"):
        return
    PICTURES.mkdir(parents=True, exist_ok=True)
    page.evaluate("window.scrollTo(0, 0)")
    page.screenshot(path=PICTURES / f"{name}.png", full_page=True)


def overflow(page: Any) -> int:
    """CSS pixels by which the page is wider than the window."""
    return int(page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


def broken_pictures(page: Any) -> list[str]:
    """The addresses of pictures that were loaded and show nothing."""
    sources: list[str] = page.evaluate(
        "[...document.images].filter(i => i.complete && !i.naturalWidth).map(i => i.src)"
    )
    return sources


def host_of(url: str) -> str:
    """Host and port of a request; empty for `data:` and other addresses without one."""
    return urlsplit(url).netloc
