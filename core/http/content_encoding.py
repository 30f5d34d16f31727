"""The content coding of a response."""

from functools import lru_cache

MAX_HEADER_CHARACTERS = 260  # of an Accept-Encoding header that is read; its parts are cached


def choose_encoding(accept_encoding: str) -> str:
    """Return `br`, `gzip` or `identity` for an Accept-Encoding header (RFC 9110 section 12.5.3)."""
    return _choose_encoding(accept_encoding[:MAX_HEADER_CHARACTERS])


@lru_cache(maxsize=1024)
def _choose_encoding(accept_encoding: str) -> str:
    weights: dict[str, float] = {}
    for item in accept_encoding.lower().split(","):
        name, _, parameter = item.partition(";")
        quality = parameter.strip().removeprefix("q=")
        try:
            weights[name.strip()] = float(quality) if quality else 1.0
        except ValueError:
            weights[name.strip()] = 0.0
    return next((name for name in ("br", "gzip") if weights.get(name, 0) > 0), "identity")
