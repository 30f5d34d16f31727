"""Cached API responses: their keys, their storage and their invalidation.

A response is cached for each user, and not for API keys and impersonations. It is served as long as the tag
that it was stored under has the same value in Redis. `invalidate()` deletes the value, and the next request
sets a new one. The audit trail calls it for the site and the user that an entry is about, and every change
has an entry; the services of sites call it for the lists of sites.
"""

import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.http.response import HttpResponseBase
from redis import Redis

from core.admission.principals import Principal
from core.http.action_policy import Cache
from core.http.preconditions import matches_if_none_match
from core.http.routes import cached_routes
from core.observability import metrics
from core.storage import redis

MAX_AGE_SECONDS = 30  # a response whose invalidation was lost is served for at most this long
MAX_BODY_BYTES = 64 * 1024
MAX_QUERY_CHARACTERS = 200
ORIGIN_KEYS = ("wsgi.url_scheme", "HTTP_X_FORWARDED_PROTO", "HTTP_HOST")
USER_TAG = "user:"
MAX_STALE_TAGS = 10_000  # that wait until Redis takes their deletion
_stale_tags: set[str] = set()
_stale_tags_lock = threading.Lock()


def site_tag(site_id: UUID | str) -> str:
    return f"site:{site_id}"


def sites_tag(user_id: UUID | str) -> str:
    """The tag of what depends on all sites that a user can see."""
    return f"sites-of:{user_id}"


def user_tag(user_id: UUID | str) -> str:
    return f"{USER_TAG}{user_id}"


def invalidate_after_commit(*tags: str) -> None:
    """Make the responses cached under these tags stale when the transaction commits, or now without one.

    All tags of a transaction take one round trip.
    """
    if not tags:
        return
    savepoints = set(connection.savepoint_ids)
    for entry in connection.run_on_commit:
        of_savepoints, callback = entry[:2]
        if isinstance(callback, _Invalidation) and of_savepoints == savepoints:
            callback.tags.update(tags)
            return
    transaction.on_commit(_Invalidation(set(tags)), robust=True)


@dataclass
class _Invalidation:
    tags: set[str]

    def __call__(self) -> None:
        invalidate(*self.tags)


def invalidate(*tags: str) -> None:
    """Make the responses cached under these tags stale. Call it after the commit.

    While Redis is unavailable, the tags wait for it in this process; the responses expire after
    `MAX_AGE_SECONDS` in any case.
    """
    try:
        redis.call(lambda client: client.delete(*map(tag_key, tags)))
    except redis.RedisUnavailable:
        metrics.lost_invalidations.inc()
        with _stale_tags_lock:
            is_delivery_under_way = bool(_stale_tags)
            if len(_stale_tags) < MAX_STALE_TAGS:
                _stale_tags.update(tags)
        if not is_delivery_under_way:
            redis.deliver_later(_delete_stale_tags)


def _delete_stale_tags(client: Redis) -> None:
    with _stale_tags_lock:
        tags = set(_stale_tags)
    if tags:
        client.delete(*map(tag_key, tags))
    with _stale_tags_lock:
        _stale_tags.difference_update(tags)
        is_rest = bool(_stale_tags)
    if is_rest:
        redis.deliver_later(_delete_stale_tags)


def tag_key(tag: str) -> str:
    """Return the Redis key that holds the current value of a cache tag."""
    return f"stamp:{tag}"


def cache_keys(environ: Mapping[str, Any], path: str, principal: Principal | None) -> tuple[str, str]:
    """Return the cache tag of a request, and the Redis key of its cached response.

    `path` is the path without a final slash. Both are empty when responses to this request are not cached.
    """
    if principal is None or principal.scopes is not None or principal.impersonator is not None:
        return "", ""
    query = environ.get("QUERY_STRING", "")
    if environ["REQUEST_METHOD"] != "GET" or len(query) > MAX_QUERY_CHARACTERS:
        return "", ""
    for pattern, cache in cached_routes.items():
        if match := pattern.fullmatch(path):
            # Links to further pages contain the scheme and the host.
            origin = [environ.get(name, "") for name in ORIGIN_KEYS]
            address = "\n".join([*origin, path, query])
            body_key = f"body:{principal.user_text}:{principal.epoch}:{address}"
            return _tag(cache, match, principal), body_key
    return "", ""


def _tag(cache: Cache, match: re.Match[str], principal: Principal) -> str:
    if cache == "site":
        return site_tag(match["pk"])
    return sites_tag(principal.user_text) if cache == "sites" else user_tag(principal.user_text)


def cached_answer(environ: Mapping[str, Any], stored: bytes, tag: str) -> tuple[int, dict[str, str], bytes]:
    """Return status, headers and body of the response that `store_response` stored under a tag.

    The status is 304 when the client has the response already. That is not so for what depends on a user: the
    version of a user does not change with the names of their roles.
    """
    _, stored_etag, body = stored.split(b"\n", 2)
    etag = stored_etag.decode()
    headers = {"Cache-Control": "private, no-cache"}
    if etag:
        headers["ETag"] = etag
        header = environ.get("HTTP_IF_NONE_MATCH", "")
        if not tag.startswith(USER_TAG) and matches_if_none_match(header, etag):
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
