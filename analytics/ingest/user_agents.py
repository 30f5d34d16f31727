"""What a browser says about itself, as browser, system and kind of device; and whether it is one at all."""

import re
from dataclasses import dataclass
from functools import lru_cache

from ua_parser import parse

MAX_AGENT = 500  # characters that are read
# uap-core knows crawlers by name; these are the tools and the browsers without a screen that it takes for
# browsers.
AUTOMATED = re.compile(
    r"headless|phantomjs|puppeteer|playwright|selenium|lighthouse|pingdom|uptime|monitor|scrap|python|curl|wget|libwww|okhttp|go-http|java/|axios|node",
    re.IGNORECASE,
)
TABLET = re.compile(r"ipad|tablet|kindle|silk|playbook|(android(?!.*mobile))", re.IGNORECASE)
PHONE = re.compile(r"mobi|iphone|ipod|android", re.IGNORECASE)
TV = re.compile(r"\btv\b|smart-?tv|appletv|googletv|hbbtv|roku|bravia", re.IGNORECASE)
SHORT = {
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
    """Names of browser and system, empty where unknown; `device` is desktop, mobile, tablet or tv."""

    browser: str = ""
    os: str = ""
    device: str = ""
    bot: bool = False


@lru_cache(maxsize=8192)
def parse_user_agent(text: str) -> UserAgent:
    """What a User-Agent header says. No browser sends none."""
    text = text[:MAX_AGENT]
    found = parse(text)
    browser = found.user_agent
    os = found.os
    device = found.device
    if (
        AUTOMATED.search(text)
        or browser is None
        or os is None
        or (device is not None and device.family == "Spider")
    ):
        return UserAgent(bot=True)
    kind = (
        "tv"
        if TV.search(text)
        else "tablet"
        if TABLET.search(text)
        else "mobile"
        if PHONE.search(text)
        else "desktop"
    )
    return UserAgent(SHORT.get(browser.family, browser.family), SHORT.get(os.family, os.family), kind)
