"""Where a visit came from: campaign parameters first, else the page that linked here."""

from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import parse_qsl, urlsplit

MAX_TEXT = 500
UTM = ("utm_source", "utm_medium", "utm_campaign", "utm_content", "utm_term")
NAMES = {
    "google": "Google",
    "bing": "Bing",
    "duckduckgo": "DuckDuckGo",
    "yahoo": "Yahoo",
    "ecosia": "Ecosia",
    "baidu": "Baidu",
    "yandex": "Yandex",
    "facebook": "Facebook",
    "instagram": "Instagram",
    "linkedin": "LinkedIn",
    "lnkd": "LinkedIn",
    "pinterest": "Pinterest",
    "reddit": "Reddit",
    "tiktok": "TikTok",
    "youtube": "YouTube",
    "youtu": "YouTube",
    "twitter": "X",
    "x": "X",
    "t": "X",
    "github": "GitHub",
    "mastodon": "Mastodon",
    "bsky": "Bluesky",
    "wikipedia": "Wikipedia",
    "chatgpt": "ChatGPT",
    "perplexity": "Perplexity",
    "claude": "Claude",
}
HOSTS = {
    "t.co": "X",
    "x.com": "X",
    "youtu.be": "YouTube",
    "news.ycombinator.com": "Hacker News",
    "l.facebook.com": "Facebook",
    "com.google.android.gm": "Gmail",
    "mail.google.com": "Gmail",
    "chat.openai.com": "ChatGPT",
    "gemini.google.com": "Gemini",
}


@dataclass(frozen=True, slots=True)
class Origin:
    """`source` is a name for people; `referrer` is host and path, without query; `utm` has the five values in
    order.
    """

    source: str = ""
    referrer: str = ""
    utm: tuple[str, ...] = ("",) * 5


def read(query: str, referrer: str, host: str) -> Origin:
    """The origin of a view of `host`, by its query string and its referrer.

    A link within the host has none.
    """
    given = _parameters(query[:2000]) if "utm_" in query or "ref=" in query else {}
    utm = tuple(_text(given.get(name, "")) for name in UTM)
    named = utm[0] or _text(given.get("ref", ""))
    name, address = _referrer(referrer[:2000], host)
    return Origin(NAMES.get(named.lower(), named) or name, address, utm)


def _text(found: str) -> str:
    """What can be kept and shown: neither PostgreSQL nor people take control characters."""
    return "".join(filter(str.isprintable, found)).strip()[:MAX_TEXT]


def _parameters(query: str) -> dict[str, str]:
    try:
        return dict(parse_qsl(query, max_num_fields=50))
    except ValueError:
        return {}


@lru_cache(maxsize=8192)
def _referrer(text: str, host: str) -> tuple[str, str]:
    try:
        parts = urlsplit(text)
        found = _text((parts.hostname or "").lower().removeprefix("www."))
    except ValueError:
        return "", ""
    if not found or found == host.removeprefix("www."):
        return "", ""
    if found in HOSTS:
        return HOSTS[found], _text(f"{found}{parts.path}").rstrip("/")
    labels = found.split(".")
    known = next((NAMES[label] for label in labels[-3:-1] if len(label) > 1 and label in NAMES), "")
    return known or found, _text(f"{found}{parts.path}").rstrip("/")
