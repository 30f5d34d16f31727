"""The events that this process has accepted and no writer has stored yet, so that a loss of Redis loses none.

Redis may lose its memory: it was emptied, or it restarted with older data. The stream then begins a new
epoch, or its numbers go back. If events of other processes have raised the numbers again, a closed
connection is the only sign. This process notices either with its next event or within `CHECK_SECONDS`, and
writes what it still holds to PostgreSQL itself. An event that has reached PostgreSQL already is recognised by
its id.

At most `MAX_EVENTS` are held. Of those beyond, the number is reported as dropped with the reason `lost`,
although a part of them may have been written.
"""

import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

import structlog
from django.db import DatabaseError, close_old_connections

MAX_EVENTS = 10_000  # of one stream
CHECK_SECONDS = 5.0
RETRY_SECONDS = 2.0
MAX_RETRIES = 300

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class LostEvents:
    """Events of a stream that lost them.

    `counts` are further ones, by site number, that are not held any more.
    """

    events: list[Any] = field(default_factory=list)
    counts: Counter[int] = field(default_factory=Counter)


@dataclass(slots=True)
class _Shard:
    epoch: str = ""
    highest: int = 0
    held: "deque[tuple[int, Any]]" = field(default_factory=deque)  # number and event
    not_held: Counter[int] = field(default_factory=Counter)  # by site number
    highest_not_held: int = 0


class KnownState(NamedTuple):
    """The highest number that a process knows of each stream, and its number of reconnections."""

    highest: list[int]
    reconnections: int = 0


class UnwrittenEvents:
    """Accepted events by stream.

    `recover` writes lost events to PostgreSQL and may raise DatabaseError. `read_states` returns epoch,
    number of the last event and number of the last written event of each stream in Redis, or raises
    RedisUnavailable. `reconnections` returns a number that changes when Redis may have restarted.
    """

    def __init__(
        self,
        shards: int,
        *,
        recover: Callable[[LostEvents], None],
        read_states: Callable[[], list[tuple[str, int, int]]],
        reconnections: Callable[[], int] = lambda: 0,
    ) -> None:
        self._reconnections = reconnections
        self._known_reconnections = reconnections()
        self._shards = [_Shard() for _ in range(shards)]
        self._recover = recover
        self._read_states = read_states
        self._lock = threading.Lock()
        self._watcher: threading.Thread | None = None
        self._lost: deque[LostEvents] = deque()
        self._recovering = False

    def known_state(self) -> KnownState:
        """Return what this process knows before it sends events.

        An event that is sent after this call must get a higher number. Events that other threads send
        meanwhile may get their answers in any order.
        """
        return KnownState([state.highest for state in self._shards], self._reconnections())

    def record_accepted(self, shard: int, event: Any, result: Any, *, sent_after: KnownState) -> None:
        """Hold an event that the stream has taken, and let go of those that were written.

        `result` has the epoch of the stream, the number of the event, and the number of the last written
        event. `sent_after` is the `known_state()` from before it was sent.
        """
        event.at = event.at or datetime.now(UTC)
        self._recover_after_reconnection()
        if sent_after.reconnections != self._known_reconnections:
            self._start_recovery(LostEvents([event]))  # Redis may have accepted and forgotten it meanwhile
            return
        with self._lock:
            lost = self._detect_loss(shard, result.epoch, result.number, known=sent_after.highest[shard])
            state = self._shards[shard]
            state.held.append((result.number, event))
            state.highest = max(state.highest, result.number)
            self._release(state, result.written)
            if len(state.held) > MAX_EVENTS:
                state.highest_not_held, oldest = state.held.popleft()
                state.not_held[oldest.site_number] += 1
            if self._watcher is None or not self._watcher.is_alive():
                self._watcher = threading.Thread(target=self._watch, name="unwritten-events", daemon=True)
                self._watcher.start()
        self._start_recovery(lost)

    def _recover_after_reconnection(self) -> None:
        """Treat everything that is held as lost when Redis may have restarted."""
        if self._reconnections() == self._known_reconnections:
            return
        with self._lock:
            self._known_reconnections = self._reconnections()
            suspects = [
                LostEvents([event for _, event in state.held], state.not_held) for state in self._shards
            ]
            self._shards = [_Shard() for _ in self._shards]
        for lost in suspects:
            if lost.events or lost.counts:
                self._start_recovery(lost)

    def clear(self) -> None:
        """Let go of all events, because Redis was emptied on purpose."""
        with self._lock:
            self._shards = [_Shard() for _ in self._shards]

    def _detect_loss(self, shard: int, epoch: str, number: int, *, known: int) -> LostEvents | None:
        """Return what a stream has lost when it began again or went back, and forget it.

        It went back when an event has a number that was known before it was sent.
        """
        state = self._shards[shard]
        has_lost = bool(state.epoch) and (epoch != state.epoch or number <= min(known, state.highest))
        lost = LostEvents([event for _, event in state.held], state.not_held) if has_lost else None
        if has_lost or not state.epoch:
            self._shards[shard] = _Shard(epoch)
        return lost if lost and (lost.events or lost.counts) else None

    @staticmethod
    def _release(state: _Shard, written: int) -> None:
        while state.held and state.held[0][0] <= written:
            state.held.popleft()
        if state.highest_not_held <= written:
            state.not_held.clear()

    def check(self) -> None:
        """Compare with the state of the streams in Redis. Raises RedisUnavailable."""
        known = self.known_state().highest
        states = self._read_states()
        self._recover_after_reconnection()
        for shard, (epoch, last, written) in enumerate(states):
            with self._lock:
                state = self._shards[shard]
                lost = None
                if epoch != state.epoch or last < min(known[shard], state.highest):
                    lost = self._detect_loss(shard, epoch, 0, known=0)
                else:
                    self._release(state, written)
            self._start_recovery(lost)

    def _watch(self) -> None:
        """Check every `CHECK_SECONDS` until no event is held. The next event starts another thread."""
        from core.storage import redis

        while True:
            time.sleep(CHECK_SECONDS)
            with suppress(redis.RedisUnavailable):
                self.check()
            with self._lock:
                if not any(state.held for state in self._shards):
                    self._watcher = None
                    return

    def _start_recovery(self, lost: LostEvents | None) -> None:
        """Recover lost events in a thread, which also recovers those that are lost while it runs."""
        if not lost:
            return
        with self._lock:
            self._lost.append(lost)
            if self._recovering:
                return
            self._recovering = True
        threading.Thread(target=self._recover_all, name="recover-events", daemon=True).start()

    def _recover_all(self) -> None:
        while True:
            with self._lock:
                if not self._lost:
                    self._recovering = False
                    return
                lost = self._lost.popleft()
            self._recover_until_done(lost)

    def _recover_until_done(self, lost: LostEvents) -> None:
        for _ in range(MAX_RETRIES):
            try:
                self._recover(lost)
            except DatabaseError:
                time.sleep(RETRY_SECONDS)
            except Exception:  # the batches after this one must not wait for it
                log.exception("events_not_recovered")
                break
            else:
                log.warning("events_recovered", events=len(lost.events), not_held=lost.counts.total())
                return
            finally:
                close_old_connections()
        log.error("events_lost", events=len(lost.events) + lost.counts.total())
