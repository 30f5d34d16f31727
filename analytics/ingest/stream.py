"""Queues events in Redis streams, one for each shard, until `writer` stores them in PostgreSQL.

No entry is removed before it is stored. Events of engagement are dropped when a stream is long. When it is
very long, all events are refused, and the browser tries once more.
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
# Limits of one stream; an entry has about 190 bytes.
SHED_ENGAGEMENTS_AT_ENTRIES = 500_000 // SHARDS
REFUSE_ALL_AT_ENTRIES = 2_000_000 // SHARDS
EPOCH_KEY = "ev:epoch"  # a random text that is lost with the data of Redis, so the writer notices a loss
SCRIPT = (Path(__file__).parent / "stream.lua").read_text()
SCRIPT_SHA1 = hashlib.sha1(SCRIPT.encode(), usedforsecurity=False).hexdigest()  # for EVALSHA


def stream_key(shard: int) -> str:
    """The Redis key of the stream of a shard."""
    return f"ev:{shard}"


@dataclass(slots=True)
class Event:
    """One event on its way to the database.

    `id` is chosen by the sender, 0 for none. Without `at` it happened now. `utm` has the values of
    `referrers.UTM_PARAMETERS`. `engaged` is the viewing time in milliseconds, `value` the revenue as decimal
    text. Texts are empty when unknown.
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

    def to_json(self) -> str:
        """A JSON array whose order `writer.TERM_POSITIONS` and `_format_line()` rely on."""
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
        """All events of a visitor are in one shard, so that their order is kept."""
        return (self.visitor or self.id or 0) % SHARDS


def append_events(events: list[Event]) -> list[str]:
    """Append events to their streams; return for each `ok` or the reason why it was dropped.

    One round trip. Raises RedisUnavailable.
    """

    def send(client: Redis) -> list[Any]:
        try:
            return _send(client, events)
        except NoScriptError:
            client.script_load(SCRIPT)
            return _send(client, events)

    return [outcome.decode() for outcome in redis.call(send)]


def _send(client: Redis, events: list[Event]) -> list[Any]:
    with client.pipeline(transaction=False) as pipe:
        for event in events:
            site_number = event.site_number
            keys = [
                stream_key(event.shard),
                f"e:{site_number}:{event.id}",
                f"v:{site_number}:{event.visitor}",
                EPOCH_KEY,
            ]
            pipe.evalsha(SCRIPT_SHA1, len(keys), *keys, *_script_arguments(event))
        return pipe.execute()


def _script_arguments(event: Event) -> list[Any]:
    """The ARGV of `stream.lua`."""
    return [
        event.id or "",
        "" if event.visitor is None else "1",
        secrets.randbits(63),
        event.to_json(),
        "1" if event.kind == Kind.ENGAGEMENT else "",
        SHED_ENGAGEMENTS_AT_ENTRIES,
        REFUSE_ALL_AT_ENTRIES,
        secrets.token_hex(8),
        int(event.at.timestamp() * 1000) if event.at else "",
    ]
