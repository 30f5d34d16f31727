"""The routes of hosts: which release of which site a host shows, cached in the memory of each process.

A change of a site appends its host to a Redis stream (`sites.change_stream`). Each process reads the
stream at most once a second and removes the hosts from its cache. While Redis is unavailable, every cached
route is loaded from PostgreSQL again, at most once a second. While PostgreSQL is unavailable too, cached
routes stay in use. An unknown host gets an empty route, which the site server answers with 404.
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
from sites.change_stream import STREAM
from sites.database_functions import JsonPathQueryArray
from sites.models import Site
from sites.subdomains import address_of

STREAM_READ_INTERVAL_SECONDS = 1.0
MAX_IDLE_SECONDS = 60.0  # after a longer time without requests the stream may have been trimmed
DATABASE_RETRY_SECONDS = 2.0  # after PostgreSQL failed, no request waits for it during this time
MAX_ENTRIES_PER_READ = 1_000
MAX_HOSTS = 50_000
STREAM_START = "0-0"

log = structlog.get_logger(__name__)


class RoutesUnavailable(Exception):
    """The route of a host is not cached, and PostgreSQL is unavailable."""


@dataclass(frozen=True, slots=True)
class Route:
    """What a host shows. A host without a live site has no `release_id`.

    `generation` is that of `Routes` when the route was loaded. `paths` are the paths of the pages. Posts are
    published below `posts_path`; `posts_version` counts their changes. `number` is `Site.number`.
    """

    generation: int
    site_id: UUID | None = None
    release_id: UUID | None = None
    base_url: str = ""
    paths: frozenset[str] = frozenset()
    posts_path: str = ""
    posts_version: int = 0
    number: int = 0


class Routes:
    """The cached routes of one process."""

    def __init__(self) -> None:
        self._routes: MemoryCache[str, Route] = MemoryCache(MAX_HOSTS)
        self._database = CircuitBreaker(DATABASE_RETRY_SECONDS)
        self._lock = threading.Lock()
        self._generation = 0  # routes of an older generation must be loaded again
        self._removals = 0  # how often announced hosts were removed from the cache
        self._read_at = 0.0
        self._position = ""  # id of the last stream entry that was read
        self._redis_run_id = ""

    def get_route(self, subdomain: str, host: str) -> Route:
        """Return the route of `host`. One query when it is not cached. Raises RoutesUnavailable."""
        self._read_stream_if_due()
        route = self._routes.get(host)
        if route is not None and route.generation == self._generation:
            return route
        return self._load(subdomain, host, fallback=route)

    def reload_route(self, subdomain: str, host: str) -> Route:
        """Load the route of `host` from PostgreSQL. One query. Raises RoutesUnavailable."""
        return self._load(subdomain, host, fallback=None)

    def _load(self, subdomain: str, host: str, *, fallback: Route | None) -> Route:
        """Load and cache a route; return `fallback` while PostgreSQL is unavailable."""
        generation = self._generation
        removals = self._removals
        try:
            route = None if self._database.is_open else self._query(subdomain)
        except DatabaseError as error:
            self._database.open()
            log.warning("routes_stale", error=type(error).__name__)
            route = None
        if route is None:
            if fallback is None:
                raise RoutesUnavailable
            return fallback
        route = replace(route, generation=generation)
        with self._lock:
            # After a removal in the meantime the loaded route may be older than the announced change.
            if removals == self._removals:
                self._routes.set(host, route)
        return route

    @staticmethod
    def _query(subdomain: str) -> Route:
        """Load the route of a subdomain from PostgreSQL."""
        page_paths = JsonPathQueryArray("live_release__blueprint", "$.pages[*].path")
        posts_paths = JsonPathQueryArray("live_release__blueprint", "$.settings.posts.path")
        try:
            with tenancy.context(tenancy.PUBLIC):
                row = (
                    Site.objects.published()
                    .filter(subdomain=subdomain)
                    .values_list("pk", "live_release_id", page_paths, posts_paths, "posts_version", "number")
                    .first()
                )
        finally:
            close_old_connections()
        if row is None:
            return Route(0)
        site_id, release_id, page_paths, posts_paths, posts_version, number = row
        return Route(
            generation=0,
            site_id=site_id,
            release_id=release_id,
            base_url=address_of(subdomain),
            paths=frozenset(page_paths),
            posts_path=posts_paths[0] if posts_paths else PostSettings().path,
            posts_version=posts_version,
            number=number,
        )

    def _read_stream_if_due(self) -> None:
        """Read the stream once per interval. Only one thread does it; the others continue without waiting."""
        now = time.monotonic()
        if now - self._read_at < STREAM_READ_INTERVAL_SECONDS or not self._lock.acquire(blocking=False):
            return
        try:
            was_idle = now - self._read_at > MAX_IDLE_SECONDS
            self._read_at = now
            if not self._read_stream() or was_idle:
                self._generation += 1
        except redis.RedisUnavailable:
            self._generation += 1
        finally:
            self._lock.release()

    def _read_stream(self) -> bool:
        """Remove the announced hosts from the cache. Raises RedisUnavailable.

        Returns False when entries may have been missed, so that every route must be loaded again.
        """
        if not self._position:
            newest: Any = redis.call(lambda client: client.xrevrange(STREAM, count=1))
            self._position = newest[0][0].decode() if newest else STREAM_START
        run_id, stream_exists, entries = redis.call(self._read_entries)
        # A restart of Redis may have lost entries.
        lost_entries = run_id != self._redis_run_id or (not stream_exists and self._position != STREAM_START)
        self._redis_run_id = run_id
        for _, fields in entries:
            self._routes.pop(fields[b"host"].decode())
        if entries:
            self._position = entries[-1][0].decode()
            self._removals += 1
        if not stream_exists:
            self._position = STREAM_START
        return not lost_entries and len(entries) < MAX_ENTRIES_PER_READ

    def _read_entries(self, client: Redis) -> tuple[str, bool, list[tuple[bytes, dict[bytes, bytes]]]]:
        """Return the run id of the Redis server, whether it has the stream, and the new entries."""
        with client.pipeline(transaction=False) as pipe:
            pipe.info("server")
            pipe.exists(STREAM)
            pipe.xrange(STREAM, min=f"({self._position}", count=MAX_ENTRIES_PER_READ)
            server, exists, entries = pipe.execute()
        return server["run_id"], bool(exists), entries
