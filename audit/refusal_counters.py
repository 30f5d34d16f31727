"""Counts refused requests (401, 403, 429) in Redis and writes the counts as audit entries.

A flood of refusals becomes one entry for each principal or network, route, code and minute.
"""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django.http import HttpRequest
from redis import Redis

from audit.actors import ANONYMOUS, Actor
from audit.models import Entry
from audit.services import record
from audit.subjects import Subject
from core import tenancy
from core.errors import DomainError
from core.http.client_address import client_address, network_prefix
from core.jobs import periodic
from core.storage import redis

MINUTE = timedelta(minutes=1)
COUNTER_LIFETIME_SECONDS = 3600  # Redis deletes counters that were not written as entries by then
MAX_ENTRIES_PER_MINUTE = 500  # one further entry sums up the rest


def count_refusal(request: HttpRequest, refusal: DomainError) -> None:
    """Count one refusal. Subscribed to `core.error_events`.

    When Redis is unavailable the refusal is counted in the metrics only.
    """
    principal = getattr(request, "principal", None)
    client = f"user:{principal.user_id}" if principal else f"net:{network_prefix(client_address(request))}"
    match = request.resolver_match
    route = match.route if match and match.route else "unresolved"
    impersonator = getattr(principal, "impersonator", None)
    key = _counter_key(datetime.now(UTC))
    field = json.dumps([client, route, refusal.code, *([str(impersonator)] if impersonator else [])])

    def increment(connection: Redis) -> None:
        with connection.pipeline(transaction=False) as pipe:
            pipe.hincrby(key, field, 1)
            pipe.expire(key, COUNTER_LIFETIME_SECONDS)
            pipe.execute()

    try:
        redis.call(increment)
    except redis.RedisUnavailable:
        return


def _counter_key(minute: datetime) -> str:
    return f"refusals:{minute.astimezone(UTC):%Y%m%d%H%M}"


def record_counted_refusals(*, now: datetime) -> int:
    """Write the entries of the minute before the last one, once. Return how many were written.

    Must be called more than once a minute, or minutes are skipped.
    """
    minute = (now - 2 * MINUTE).replace(second=0, microsecond=0)
    with tenancy.context(tenancy.SYSTEM):
        if not periodic.claim_slot("audit_refusals", every=MINUTE, now=minute):
            return 0
        try:
            counts = redis.call(lambda connection: connection.hgetall(_counter_key(minute)))
        except redis.RedisUnavailable:
            return 0
        rows = sorted(((int(count), *json.loads(field)) for field, count in counts.items()), reverse=True)
        for row in rows[:MAX_ENTRIES_PER_MINUTE]:
            _record_refusals(row, minute)
        if rest := rows[MAX_ENTRIES_PER_MINUTE:]:
            record(
                "request.refused",
                actor=ANONYMOUS,
                subject=Subject("route"),
                minute=minute.isoformat(),
                count=sum(row[0] for row in rest),
                kinds=len(rest),
            )
    return min(len(rows), MAX_ENTRIES_PER_MINUTE + 1)


def _record_refusals(row: Sequence[Any], minute: datetime) -> None:
    """Write one entry. `row` is count, client, route, code, and the impersonator's id if there is one."""
    count, client, route, code, *impersonator = row
    client_kind, _, client_id = client.partition(":")
    record(
        "request.refused",
        actor=Actor(Entry.ActorKind.USER, UUID(client_id)) if client_kind == "user" else ANONYMOUS,
        subject=Subject("route"),
        personal={"from": client_id} if client_kind == "net" and client_id else None,
        route=route,
        code=code,
        minute=minute.isoformat(),
        count=count,
        **({"impersonator": impersonator[0]} if impersonator else {}),
    )
