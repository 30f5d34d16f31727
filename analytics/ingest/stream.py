"""The way from web processes to writers: streams in Redis, one for each shard.

Nothing is trimmed before it is in PostgreSQL.

An engagement that comes when the stream is long is shed; when it is very long, everything is refused, and the
browser tries once more.
"""

import hashlib
import json
import secrets
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from redis import Redis
from redis.exceptions import NoScriptError

from analytics.models import Kind
from core.storage import redis

SHARDS = 4
# entries; about 190 bytes each
SHED_AT = 500_000 // SHARDS
FULL_AT = 2_000_000 // SHARDS
EPOCH = "ev:epoch"
SCRIPT = (Path(__file__).parent / "stream.lua").read_text()
DIGEST = hashlib.sha1(SCRIPT.encode(), usedforsecurity=False).hexdigest()  # its name in Redis


def name_of(shard: int) -> str:
    return f"ev:{shard}"


@dataclass(slots=True)
class Event:
    """One event as it travels.

    `id` is the browser's, 0 for none; `at` is None for now; texts are empty where unknown.
    """

    site_number: int
    kind: int
    page: str
    id: int = 0
    at: datetime | None = None
    name: str = ""
    visitor: int | None = None
    referrer: str = ""
    source: str = ""
    utm: tuple[str, ...] = ("",) * 5
    country: str = ""
    region: str = ""
    browser: str = ""
    os: str = ""
    device: str = ""
    language: str = ""
    engaged: int | None = None
    value: str | None = None
    currency: str | None = None
    props: dict[str, Any] | None = None

    def packed(self) -> str:
        at = self.at and int(self.at.timestamp() * 1000)
        return json.dumps(
            [
                self.site_number,
                self.kind,
                self.page,
                self.id,
                at,
                self.name,
                self.visitor,
                self.referrer,
                self.source,
                *self.utm,
                self.country,
                self.region,
                self.browser,
                self.os,
                self.device,
                self.language,
                self.engaged,
                self.value,
                self.currency,
                self.props,
            ],
            ensure_ascii=False,
            separators=(",", ":"),
        )

    @property
    def shard(self) -> int:
        return (self.visitor or self.id or 0) % SHARDS


def append(events: list[Event]) -> list[str]:
    """What became of each: `ok`, or why not. One round trip. Raises RedisAway."""

    def send(client: Redis) -> list[Any]:
        try:
            return _send(client, events)
        except NoScriptError:
            client.script_load(SCRIPT)
            return _send(client, events)

    return [answer.decode() for answer in redis.call(send)]


def _send(client: Redis, events: list[Event]) -> list[Any]:
    with client.pipeline(transaction=False) as pipe:
        for event in events:
            site = event.site_number
            visitor = event.visitor
            keys = [name_of(event.shard), f"e:{site}:{event.id}", f"v:{site}:{visitor}", EPOCH]
            pipe.evalsha(DIGEST, len(keys), *keys, *_arguments(event))
        return pipe.execute()


def _arguments(event: Event) -> list[Any]:
    return [
        event.id or "",
        "" if event.visitor is None else "1",
        secrets.randbits(63),
        event.packed(),
        "1" if event.kind == Kind.ENGAGEMENT else "",
        SHED_AT,
        FULL_AT,
        secrets.token_hex(8),
        int(event.at.timestamp() * 1000) if event.at else "",
    ]
