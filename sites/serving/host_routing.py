"""Which release a host shows, kept in this process's memory and never more than about a second behind.

A publish appends the host to a Redis stream. Each process reads it at most once a second and forgets those
hosts. When the stream cannot be read, every host is asked of PostgreSQL again, at most once a second; with
both gone, what is known stays.
"""

import threading
import time
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import structlog
from django.db import DatabaseError, close_old_connections
from redis import Redis

from core import tenancy
from core.storage import redis
from core.storage.circuit_breaker import CircuitBreaker
from core.storage.memory_cache import MemoryCache
from sites.blueprint.schema import PostSettings
from sites.models import EachAt, Site
from sites.serving.change_stream import STREAM
from sites.subdomains import address_of

READ_SECONDS = 1.0
IDLE_SECONDS = 60.0  # after a longer pause the stream may have been trimmed: ask PostgreSQL
PAUSE_SECONDS = 2.0  # after PostgreSQL failed, nobody waits for it again for this long
BATCH = 1_000
MAX_HOSTS = 50_000
START = "0-0"

log = structlog.get_logger(__name__)


class RoutesUnavailable(Exception):
    """The host is not known here and PostgreSQL cannot be asked."""


@dataclass(frozen=True, slots=True)
class Route:
    """What a host shows. `release_id` None means that there is nothing; `seen` is the table's generation.

    Posts are found below `posts_path`, as they were after `posts_version` changes.
    """

    seen: int
    site_id: UUID | None = None
    release_id: UUID | None = None
    base_url: str = ""
    paths: frozenset[str] = frozenset()
    posts_path: str = ""
    posts_version: int = 0
    number: int = 0


class Routes:
    """The host table of one process."""

    def __init__(self) -> None:
        self._routes: MemoryCache[str, Route] = MemoryCache(MAX_HOSTS)
        self._database = CircuitBreaker(PAUSE_SECONDS)
        self._lock = threading.Lock()
        self._generation = 0  # a route of an older one must be asked of PostgreSQL again
        self._drops = 0
        self._read_at = 0.0
        self._position = ""
        self._run = ""

    def find(self, subdomain: str, host: str) -> Route:
        """The route of `host`. One query when it is not known. Raises RoutesAway."""
        self._refresh()
        route = self._routes.get(host)
        if route is not None and route.seen == self._generation:
            return route
        return self._load(subdomain, host, known=route)

    def renew(self, subdomain: str, host: str) -> Route:
        """The route of `host` as PostgreSQL has it now. Raises RoutesAway."""
        return self._load(subdomain, host, known=None)

    def _load(self, subdomain: str, host: str, *, known: Route | None) -> Route:
        generation = self._generation
        drops = self._drops
        try:
            fresh = None if self._database.is_open else self._query(subdomain)
        except DatabaseError as error:
            self._database.open()
            log.warning("routes_stale", error=type(error).__name__)
            fresh = None
        if fresh is None:
            if known is None:
                raise RoutesUnavailable
            return known
        fresh = replace(fresh, seen=generation)
        with self._lock:
            if drops == self._drops:  # otherwise a change was announced meanwhile, and the route may be older
                self._routes.set(host, fresh)
        return fresh

    @staticmethod
    def _query(subdomain: str) -> Route:
        paths = EachAt("live_release__blueprint", "$.pages[*].path")
        posts = EachAt("live_release__blueprint", "$.settings.posts.path")
        try:
            with tenancy.context(tenancy.PUBLIC):
                found = (
                    Site.objects.routed()
                    .filter(subdomain=subdomain)
                    .values_list("pk", "live_release_id", paths, posts, "posts_version", "number")
                    .first()
                )
        finally:
            close_old_connections()
        if found is None:
            return Route(0)
        site_id, release_id, pages, posts_path, posts_version, number = found
        posts_path = posts_path[0] if posts_path else PostSettings().path
        address = address_of(subdomain)
        return Route(0, site_id, release_id, address, frozenset(pages), posts_path, posts_version, number)

    def _refresh(self) -> None:
        now = time.monotonic()
        if now - self._read_at < READ_SECONDS or not self._lock.acquire(blocking=False):
            return
        try:
            idle = now - self._read_at > IDLE_SECONDS
            self._read_at = now
            if not self._read_stream() or idle:
                self._generation += 1
        except redis.RedisUnavailable:
            self._generation += 1
        finally:
            self._lock.release()

    def _read_stream(self) -> bool:
        """Forget the announced hosts. False when entries may have been missed. Raises RedisAway."""
        if not self._position:
            newest: Any = redis.call(lambda client: client.xrevrange(STREAM, count=1))
            self._position = newest[0][0].decode() if newest else START
        run, exists, entries = redis.call(self._ask)
        lost = run != self._run or (not exists and self._position != START)
        self._run = run
        for _, fields in entries:
            self._routes.pop(fields[b"host"].decode())
        if entries:
            self._position = entries[-1][0].decode()
            self._drops += 1
        if not exists:
            self._position = START
        return not lost and len(entries) < BATCH

    def _ask(self, client: Redis) -> tuple[str, bool, list[tuple[bytes, dict[bytes, bytes]]]]:
        """Which run of Redis this is (a restart may have lost entries), whether it has the stream, what is
        new in it.
        """
        with client.pipeline(transaction=False) as pipe:
            pipe.info("server")
            pipe.exists(STREAM)
            pipe.xrange(STREAM, min=f"({self._position}", count=BATCH)
            server, exists, entries = pipe.execute()
        return server["run_id"], bool(exists), entries
