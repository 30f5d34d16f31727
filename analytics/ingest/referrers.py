"""Finds the traffic source of a visit: from campaign parameters, else from the page that linked to it."""

from dataclasses import dataclass
from functools import cache, lru_cache
from urllib.parse import parse_qsl, urlsplit

from publicsuffixlist import PublicSuffixList

MAX_TEXT_CHARACTERS = 500
MAX_URL_CHARACTERS = 2000
MAX_QUERY_PARAMETERS = 50
UTM_PARAMETERS = ("utm_source", "utm_medium", "utm_campaign", "utm_content", "utm_term")
# Brands that own their name under many public suffixes, such as `google.co.uk`.
NAME_UNDER_ANY_SUFFIX = {
    "bing": "Bing",
    "google": "Google",
    "pinterest": "Pinterest",
    "yahoo": "Yahoo",
    "yandex": "Yandex",
}
NAME_BY_REGISTRABLE_DOMAIN = {
    "baidu.com": "Baidu",
    "bsky.app": "Bluesky",
    "chatgpt.com": "ChatGPT",
    "claude.ai": "Claude",
    "duckduckgo.com": "DuckDuckGo",
    "ecosia.org": "Ecosia",
    "facebook.com": "Facebook",
    "fb.com": "Facebook",
    "github.com": "GitHub",
    "instagram.com": "Instagram",
    "linkedin.com": "LinkedIn",
    "lnkd.in": "LinkedIn",
    "mastodon.social": "Mastodon",
    "perplexity.ai": "Perplexity",
    "reddit.com": "Reddit",
    "t.co": "X",
    "tiktok.com": "TikTok",
    "twitter.com": "X",
    "wikipedia.org": "Wikipedia",
    "x.com": "X",
    "youtu.be": "YouTube",
    "youtube.com": "YouTube",
}
# Hosts whose name differs from that of their domain.
NAME_BY_HOST = {
    "chat.openai.com": "ChatGPT",
    "com.google.android.gm": "Gmail",  # of the scheme android-app
    "gemini.google.com": "Gemini",
    "mail.google.com": "Gmail",
    "news.ycombinator.com": "Hacker News",
}
# Display names of texts in campaign parameters, in lower case.
NAME_BY_CAMPAIGN_SOURCE = {
    name.lower(): name
    for name in (
        *NAME_UNDER_ANY_SUFFIX.values(),
        *NAME_BY_REGISTRABLE_DOMAIN.values(),
        *NAME_BY_HOST.values(),
    )
} | {"twitter": "X"}


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
    lower_query = query.lower()
    if "utm_" not in lower_query and "ref=" not in lower_query:
        return TrafficSource(referrer_name, referrer_address)
    parameters = _parse_parameters(query[:MAX_URL_CHARACTERS])
    utm = tuple(_clean_text(parameters.get(name, "")) for name in UTM_PARAMETERS)
    campaign_source = utm[0] or _clean_text(parameters.get("ref", ""))
    source = NAME_BY_CAMPAIGN_SOURCE.get(campaign_source.lower(), campaign_source) or referrer_name
    return TrafficSource(source, referrer_address, utm)


def _clean_text(text: str) -> str:
    """The text without control characters, which PostgreSQL cannot store, limited in length."""
    printable = text if text.isprintable() else "".join(filter(str.isprintable, text))
    return printable.strip()[:MAX_TEXT_CHARACTERS]


def _parse_parameters(query: str) -> dict[str, str]:
    """The parameters of a query string, their names in lower case. `&amp;`, as copied from HTML, is `&`."""
    try:
        pairs = parse_qsl(query.replace("&amp;", "&"), max_num_fields=MAX_QUERY_PARAMETERS)
    except ValueError:
        return {}
    return {name.lower(): value for name, value in pairs}


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
    return _display_name(referrer_host), address


def _display_name(host: str) -> str:
    """The name of the brand that a host belongs to, or else the host."""
    domain = _public_suffixes(only_icann=False).privatesuffix(host) or host
    name = NAME_BY_HOST.get(host) or NAME_BY_REGISTRABLE_DOMAIN.get(domain)
    brand = NAME_UNDER_ANY_SUFFIX.get(domain.partition(".")[0])
    # Below the suffix of a company, such as blogspot.com, anybody may have the name of a brand.
    if brand and domain == _public_suffixes(only_icann=True).privatesuffix(host):
        name = name or brand
    return name or host


@cache
def _public_suffixes(*, only_icann: bool) -> PublicSuffixList:
    """The public suffix list of the package; it takes a twentieth of a second to load."""
    return PublicSuffixList(only_icann=only_icann)
