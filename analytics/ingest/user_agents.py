"""Parses User-Agent headers into browser, operating system and kind of device, and recognises bots."""

import re
from dataclasses import dataclass
from functools import lru_cache

from ua_parser import parse

MAX_USER_AGENT_CHARACTERS = 500  # the rest of a longer header is ignored
# Tools and headless browsers that uap-core does not recognise as bots.
AUTOMATED = re.compile(
    r"headless|phantomjs|puppeteer|playwright|selenium|lighthouse|pingdom|uptime|monitor|scrap"
    r"|python|curl|wget|libwww|okhttp|go-http|java/|axios|node",
    re.IGNORECASE,
)
TABLET = re.compile(r"ipad|tablet|kindle|silk|playbook|(android(?!.*mobile))", re.IGNORECASE)
PHONE = re.compile(r"mobi|iphone|ipod|android", re.IGNORECASE)
TV = re.compile(r"\btv\b|smart-?tv|appletv|googletv|hbbtv|roku|bravia", re.IGNORECASE)
# Variants of a browser or operating system that reports show under one name.
DISPLAY_NAMES = {
    "Mobile Safari": "Safari",
    "Chrome Mobile": "Chrome",
    "Chrome Mobile iOS": "Chrome",
    "Firefox Mobile": "Firefox",
    "Firefox iOS": "Firefox",
    "Edge Mobile": "Edge",
    "Chrome Mobile WebView": "Chrome WebView",
    "Mobile Safari UI/WKWebView": "Safari WebView",
    "Mac OS X": "macOS",
}


@dataclass(frozen=True, slots=True)
class UserAgent:
    """Names of browser and operating system, empty when unknown.

    `device` is desktop, mobile, tablet or tv.
    """

    browser: str = ""
    os: str = ""
    device: str = ""
    is_bot: bool = False


@lru_cache(maxsize=8192)
def parse_user_agent(text: str) -> UserAgent:
    """Parse a User-Agent header. A header without a known browser or system, or an empty one, is a bot's."""
    text = text[:MAX_USER_AGENT_CHARACTERS]
    result = parse(text)
    browser = result.user_agent
    os = result.os
    is_spider = result.device is not None and result.device.family == "Spider"
    if AUTOMATED.search(text) or browser is None or os is None or is_spider:
        return UserAgent(is_bot=True)
    return UserAgent(
        DISPLAY_NAMES.get(browser.family, browser.family),
        DISPLAY_NAMES.get(os.family, os.family),
        _device_kind(text),
    )


def _device_kind(text: str) -> str:
    if TV.search(text):
        return "tv"
    if TABLET.search(text):
        return "tablet"
    return "mobile" if PHONE.search(text) else "desktop"
