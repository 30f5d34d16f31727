"""Cached API responses: the registry of cached GET routes, their storage and their invalidation.

A response is cached for each user. It is served as long as the tag that it was stored under has the same
value in Redis. `invalidate()` deletes the value, and the next request sets a new one.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from django.http.response import HttpResponseBase

from core.admission.principals import Principal
from core.http.preconditions import matches_if_none_match
from core.observability import metrics
from core.storage import redis

MAX_AGE_SECONDS = 30  # a response whose invalidation was lost is served for at most this long
MAX_BODY_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class CachedRoute:
    """A GET route whose responses are cached.

    `pattern` matches the whole path; `cache_tag` gives the tag for a match.
    """

    pattern: re.Pattern[str]
    cache_tag: Callable[[re.Match[str], Principal], str]


_routes: list[CachedRoute] = []


def cache_response(pattern: str, cache_tag: Callable[[re.Match[str], Principal], str]) -> None:
    """Cache responses of GET `pattern` for each user until `invalidate(tag)`. For `AppConfig.ready()`."""
    _routes.append(CachedRoute(re.compile(pattern), cache_tag))


def invalidate(*tags: str) -> None:
    """Make the responses cached under these tags stale. Call it after the commit.

    When Redis does not take the change, the responses expire after `MAX_AGE_SECONDS`.
    """
    if not redis.deliver(lambda client: client.delete(*(tag_key(tag) for tag in tags))):
        metrics.lost_invalidations.inc()


def tag_key(tag: str) -> str:
    """Return the Redis key that holds the current value of a cache tag."""
    return f"stamp:{tag}"


def cache_keys(environ: Mapping[str, Any], path: str, principal: Principal | None) -> tuple[str, str]:
    """Return the cache tag of a request, and the Redis key of its cached response.

    `path` is the path without a final slash. Both are empty when responses to this request are not cached.
    """
    if principal is None or principal.scopes is not None or environ["REQUEST_METHOD"] != "GET":
        return "", ""
    for route in _routes:
        if match := route.pattern.fullmatch(path):
            body_key = f"body:{principal.user_id}:{principal.epoch}:{path}?{environ.get('QUERY_STRING', '')}"
            return route.cache_tag(match, principal), body_key
    return "", ""


def cached_answer(environ: Mapping[str, Any], stored: bytes) -> tuple[int, dict[str, str], bytes]:
    """Return status, headers and body of the response that `store_response` stored.

    The status is 304 when the client has the response already.
    """
    _, stored_etag, body = stored.split(b"\n", 2)
    etag = stored_etag.decode()
    headers = {"Cache-Control": "private, no-cache"}
    if etag:
        headers["ETag"] = etag
        if matches_if_none_match(environ.get("HTTP_IF_NONE_MATCH", ""), etag):
            return 304, headers, b""
    headers["Content-Type"] = "application/json"
    return 200, headers, body


def store_response(response: HttpResponseBase, *, body_key: str, tag_value: str) -> None:
    """Cache a response with status 200 under the tag value that was read before the database was.

    A change that commits in between deletes the value, so the response of before it is never served.
    """
    if not tag_value or response.status_code != 200 or response.streaming:
        return
    content: bytes = response.content  # type: ignore[attr-defined]
    if len(content) > MAX_BODY_BYTES:
        return
    stored = b"\n".join([tag_value.encode(), response.headers.get("ETag", "").encode(), content])
    try:
        redis.call(lambda client: client.set(body_key, stored, ex=MAX_AGE_SECONDS))
    except redis.RedisUnavailable:
        return
