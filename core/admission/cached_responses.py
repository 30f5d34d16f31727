"""Cached API responses: the registry of cached GET routes, their storage and their invalidation.

A response is cached for each user, and not for API keys and impersonations. It is served as long as the tag
that it was stored under has the same value in Redis. `invalidate()` deletes the value, and the next request
sets a new one. The audit trail calls it for the site and the user that an entry is about, and every change
has an entry; the services of sites call it for the lists of sites.
"""

import re
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.db import transaction
from django.http.response import HttpResponseBase

from core.admission.principals import Principal
from core.http.action_policy import Cache
from core.http.preconditions import matches_if_none_match
from core.http.routes import cached_routes
from core.observability import metrics
from core.storage import redis

MAX_AGE_SECONDS = 30  # a response whose invalidation was lost is served for at most this long
MAX_BODY_BYTES = 64 * 1024


def site_tag(site_id: UUID | str) -> str:
    return f"site:{site_id}"


def sites_tag(user_id: UUID | str) -> str:
    """The tag of what depends on all sites that a user can see."""
    return f"sites-of:{user_id}"


def user_tag(user_id: UUID | str) -> str:
    return f"user:{user_id}"


def invalidate_after_commit(*tags: str) -> None:
    """Make the responses cached under these tags stale when the transaction commits, or now without one."""
    transaction.on_commit(lambda: invalidate(*tags), robust=True)


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
    if principal is None or principal.scopes is not None or principal.impersonator is not None:
        return "", ""
    if environ["REQUEST_METHOD"] != "GET":
        return "", ""
    for pattern, cache in cached_routes.items():
        if match := pattern.fullmatch(path):
            address = f"{path}?{environ.get('QUERY_STRING', '')}"
            body_key = f"body:{principal.user_text}:{principal.epoch}:{address}"
            return _tag(cache, match, principal), body_key
    return "", ""


def _tag(cache: Cache, match: re.Match[str], principal: Principal) -> str:
    if cache == "site":
        return site_tag(match["pk"])
    return sites_tag(principal.user_text) if cache == "sites" else user_tag(principal.user_text)


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
