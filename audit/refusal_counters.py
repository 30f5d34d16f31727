"""Refusals, counted in Redis: a flood of them becomes one entry for each principal, route and minute."""

import json
from datetime import UTC, datetime, timedelta
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
KEPT_SECONDS = 3600  # minutes that no sealer came for are forgotten after this
MAX_KINDS = 500  # entries for one minute; what is beyond is summed up in one


def count_refusal(request: HttpRequest, refusal: DomainError) -> None:
    """Listens to `core.error_events`. Redis away: the refusal is in the metrics only."""
    principal = getattr(request, "principal", None)
    who = f"user:{principal.user_id}" if principal else f"net:{network_prefix(client_address(request))}"
    match = request.resolver_match
    route = match.route if match and match.route else "unresolved"
    key = _key(datetime.now(UTC))
    acting = getattr(principal, "impersonator", None)
    field = json.dumps([who, route, refusal.code, *([str(acting)] if acting else [])])

    def count(client: Redis) -> None:
        with client.pipeline(transaction=False) as pipe:
            pipe.hincrby(key, field, 1)
            pipe.expire(key, KEPT_SECONDS)
            pipe.execute()

    try:
        redis.call(count)
    except redis.RedisUnavailable:
        return


def _key(moment: datetime) -> str:
    return f"refusals:{moment.astimezone(UTC):%Y%m%d%H%M}"


def flush(*, now: datetime) -> int:
    """Write the entries of the minute before the last one, once; return how many.

    Call it more than once a minute.
    """
    minute = (now - 2 * MINUTE).replace(second=0, microsecond=0)
    with tenancy.context(tenancy.SYSTEM):
        if not periodic.claim_slot("audit_refusals", every=MINUTE, now=minute):
            return 0
        try:
            counted = redis.call(lambda client: client.hgetall(_key(minute)))
        except redis.RedisUnavailable:
            return 0
        rows = sorted(((int(count), *json.loads(field)) for field, count in counted.items()), reverse=True)
        for count, who, route, code, *acting in rows[:MAX_KINDS]:
            kind, _, name = who.partition(":")
            actor = Actor(Entry.ActorKind.USER, UUID(name)) if kind == "user" else ANONYMOUS
            personal = {"from": name} if kind == "net" and name else None
            facts = {"route": route, "code": code, "minute": minute.isoformat(), "count": count}
            facts |= {"impersonator": acting[0]} if acting else {}
            record("request.refused", actor=actor, subject=Subject("route"), personal=personal, **facts)
        if rest := rows[MAX_KINDS:]:
            facts = {"minute": minute.isoformat(), "count": sum(row[0] for row in rest), "kinds": len(rest)}
            record("request.refused", actor=ANONYMOUS, subject=Subject("route"), **facts)
    return min(len(rows), MAX_KINDS + 1)
