"""Finds the traffic source of a visit: from campaign parameters, else from the page that linked to it."""

from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import parse_qsl, urlsplit

MAX_TEXT_CHARACTERS = 500
MAX_URL_CHARACTERS = 2000
MAX_QUERY_PARAMETERS = 50
UTM_PARAMETERS = ("utm_source", "utm_medium", "utm_campaign", "utm_content", "utm_term")
# Display names by a label of the host (`www.google.co.uk`) or by the text of a campaign parameter.
SOURCE_NAMES = {
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
# Display names of hosts that no single label identifies.
SOURCE_NAME_BY_HOST = {
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
class TrafficSource:
    """Where a visit came from.

    `source` is a display name, `referrer` is host and path without a query string, `utm` has the values of
    `UTM_PARAMETERS` in order. Texts are empty when unknown.
    """

    source: str = ""
    referrer: str = ""
    utm: tuple[str, ...] = ("",) * 5


def parse_traffic_source(query: str, referrer: str, host: str) -> TrafficSource:
    """The traffic source of a page view on `host`, from its query string and its referrer.

    A link within the host is no traffic source.
    """
    referrer_name, referrer_address = _parse_referrer(referrer[:MAX_URL_CHARACTERS], host)
    if "utm_" not in query and "ref=" not in query:
        return TrafficSource(referrer_name, referrer_address)
    parameters = _parse_parameters(query[:MAX_URL_CHARACTERS])
    utm = tuple(_clean_text(parameters.get(name, "")) for name in UTM_PARAMETERS)
    campaign_source = utm[0] or _clean_text(parameters.get("ref", ""))
    source = SOURCE_NAMES.get(campaign_source.lower(), campaign_source) or referrer_name
    return TrafficSource(source, referrer_address, utm)


def _clean_text(text: str) -> str:
    """The text without control characters, which PostgreSQL cannot store, limited in length."""
    printable = text if text.isprintable() else "".join(filter(str.isprintable, text))
    return printable.strip()[:MAX_TEXT_CHARACTERS]


def _parse_parameters(query: str) -> dict[str, str]:
    try:
        return dict(parse_qsl(query, max_num_fields=MAX_QUERY_PARAMETERS))
    except ValueError:
        return {}


@lru_cache(maxsize=8192)
def _parse_referrer(text: str, host: str) -> tuple[str, str]:
    """The display name and the address of a referrer; both empty for a link within `host`."""
    try:
        parts = urlsplit(text)
        referrer_host = _clean_text((parts.hostname or "").lower().removeprefix("www."))
    except ValueError:
        return "", ""
    if not referrer_host or referrer_host == host.removeprefix("www."):
        return "", ""
    address = _clean_text(f"{referrer_host}{parts.path}").rstrip("/")
    if referrer_host in SOURCE_NAME_BY_HOST:
        return SOURCE_NAME_BY_HOST[referrer_host], address
    # `google` stands before the top-level domain, which may have two labels.
    labels = referrer_host.split(".")[-3:-1]
    names = (SOURCE_NAMES[label] for label in labels if len(label) > 1 and label in SOURCE_NAMES)
    return next(names, referrer_host), address
