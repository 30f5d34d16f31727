"""Queues events in Redis streams, one for each shard, until `writer` stores them in PostgreSQL.

No entry is removed before it is stored. Events of engagement are dropped when a stream is long. When it is
very long, all events are refused, and the browser tries once more.
"""

import random
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from analytics.models import Kind
from core.storage.redis_scripts import Script

SHARDS = 4
# Limits of one stream; an entry has about 190 bytes.
SHED_ENGAGEMENTS_AT_ENTRIES = 500_000 // SHARDS
REFUSE_ALL_AT_ENTRIES = 2_000_000 // SHARDS
READ_STATES = Script("""
local states = {}
for number, key in ipairs(KEYS) do
  states[number] = redis.call('HMGET', key, 'epoch', 'sequence', 'written')
end
return states
""")
FORMER_EPOCH_KEY = "ev:epoch"  # of versions before the epoch was kept in every entry
SCRIPT = Script((Path(__file__).parent / "stream.lua").read_text())


def stream_key(shard: int) -> str:
    """The Redis key of the stream of a shard."""
    return f"ev:{shard}"


def state_key(shard: int) -> str:
    """The Redis key of the state of a stream.

    A hash: `epoch`, a random text that tells one life of the stream from the next; `sequence`, the number of
    the last event in this epoch; `written`, the number of the last event that is in PostgreSQL.
    """
    return f"ev:{shard}:state"


@dataclass(slots=True)
class Event:
    """One event on its way to the database.

    `id` is random, or chosen by the sender, who may repeat it (`is_repeatable`). Without `at` it happened
    now. `utm` has the values of `referrers.UTM_PARAMETERS`. `engaged` is the viewing time in milliseconds,
    `value` the revenue as decimal text. Texts are empty when unknown.
    """

    site_number: int
    kind: int
    page: str
    id: int = field(default_factory=lambda: random.getrandbits(63))
    is_repeatable: bool = False
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

    def to_json(self) -> bytes:
        """A JSON array whose order `writer.TERM_POSITIONS` and `_format_line()` rely on."""
        at = self.at and int(self.at.timestamp() * 1000)
        return orjson.dumps(
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
            ]
        )

    @property
    def shard(self) -> int:
        """All events of a visitor are in one shard, so that their order is kept."""
        return (self.visitor or self.id) % SHARDS


class Appended(NamedTuple):
    """What became of an event: `ok`, or the reason why it was dropped.

    For `ok` also the epoch of its stream, its number in this epoch, and the number of the last event of the
    epoch that is in PostgreSQL.
    """

    outcome: str
    epoch: str
    number: int
    written: int


def append_events(events: list[Event]) -> list[Appended]:
    """Append events to their streams. One round trip. Raises RedisUnavailable."""

    return [
        Appended(outcome.decode(), epoch.decode(), number, written)
        for outcome, epoch, number, written in SCRIPT.run_many([_script_call(event) for event in events])
    ]


def read_states() -> list[tuple[str, int, int]]:
    """Return epoch, number of the last event, and number of the last written event of each stream.

    Raises RedisUnavailable.
    """
    return [
        ((epoch or b"").decode(), int(last or 0), int(written or 0))
        for epoch, last, written in READ_STATES.run([state_key(shard) for shard in range(SHARDS)], [])
    ]


def _script_call(event: Event) -> tuple[tuple[str, ...], tuple[str | int | bytes, ...]]:
    """The KEYS and ARGV of `stream.lua`."""
    site_number = event.site_number
    shard = event.shard
    # The random numbers are no secrets, and those of the system take a third of the time of an event.
    keys = (
        stream_key(shard),
        f"e:{site_number}:{event.id if event.is_repeatable else ''}",
        f"v:{site_number}:{event.visitor}",
        state_key(shard),
        FORMER_EPOCH_KEY,
    )
    return keys, (
        event.id if event.is_repeatable else "",
        "" if event.visitor is None else "1",
        random.getrandbits(63),
        event.to_json(),
        "1" if event.kind == Kind.ENGAGEMENT else "",
        SHED_ENGAGEMENTS_AT_ENTRIES,
        REFUSE_ALL_AT_ENTRIES,
        f"{random.getrandbits(64):016x}",
        int(event.at.timestamp() * 1000) if event.at else "",
    )
