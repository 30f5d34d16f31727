"""The trail as JSON lines that anybody can verify with the public key alone.

First a header; then, in the order of the chain, whole entries (`entry`), and the bare leaves (`leaf`) of what
lies between an exported entry and the checkpoint after it; then the checkpoints. A reader recomputes the
chain over each unbroken run of numbers and compares it with a signed checkpoint at its end.
"""

import base64
import json
from collections.abc import Iterator
from typing import Any
from uuid import UUID

from django.db import connection, transaction

from audit.chain import hashing, signing_keys
from audit.chain.sealing import CANONICAL
from audit.models import Checkpoint

FORMAT = "getyousite-audit-export"
BATCH = 10_000
ROWS = f"""
    SELECT s.number, s.leaf, s.digest, e.site_id, e.owner_id, e.actor_id, {CANONICAL},
           (SELECT json_object_agg(p.field, json_build_array(encode(p.salt, 'base64'), p.value)) FROM audit_personal p WHERE p.entry_id = e.id)
    FROM audit_seal s LEFT JOIN audit_entry e ON e.id = s.entry_id
    WHERE s.number > %s ORDER BY s.number LIMIT %s
"""  # noqa: S608 - our own columns


def export(
    *, site: UUID | None = None, owner: UUID | None = None, personal_values: bool = True
) -> Iterator[str]:
    """Lines of the export: of one site, of what one person owns or did, or of everything.

    One snapshot. Without personal values a reader finds them erased.

    Only sealed entries that a checkpoint covers can be proven, so the export ends at the newest checkpoint.
    """
    with transaction.atomic():
        signed = dict(Checkpoint.objects.order_by("number").values_list("number", "document"))
        last = max(signed, default=0)
        yield _line(
            kind="header",
            format=FORMAT,
            version=1,
            keys=signing_keys.public_texts(),
            genesis=hashing.GENESIS.hex(),
            last=last,
        )
        run: list[str] = []
        wanted_in_run = False
        previous = hashing.GENESIS
        for number, leaf, digest, site_id, owner_id, actor_id, *values, personal in _rows(last):
            if not run:
                run.append(_line(kind="start", number=number, previous=previous.hex()))
            wanted = values[0] is not None and _wanted(site, owner, site_id, owner_id, actor_id)
            wanted_in_run |= wanted
            if wanted:
                fields = dict(zip(hashing.FIELDS, values, strict=True))
                run.append(
                    _line(
                        kind="entry",
                        number=number,
                        fields=fields,
                        personal=(personal_values and personal) or {},
                    )
                )
            else:
                run.append(_line(kind="leaf", number=number, leaf=base64.b64encode(bytes(leaf)).decode()))
            previous = bytes(digest)
            if (
                number in signed
            ):  # a run ends at each checkpoint, and is left out when nothing in it was asked for
                if wanted_in_run:
                    yield from run
                    yield _line(kind="checkpoint", document=signed[number])
                run = []
                wanted_in_run = False


def _rows(last: int) -> Iterator[Any]:
    number = 0
    while number < last:
        with connection.cursor() as cursor:
            cursor.execute(ROWS, [number, BATCH])
            rows = cursor.fetchall()
        if not rows:
            return
        for row in rows:
            if row[0] > last:
                return
            yield row
        number = rows[-1][0]


def _wanted(
    site: UUID | None, owner: UUID | None, site_id: UUID | None, owner_id: UUID | None, actor_id: UUID | None
) -> bool:
    if site is not None:
        return site_id == site
    return owner is None or owner in {owner_id, actor_id}


def _line(**facts: Any) -> str:
    return json.dumps(facts, ensure_ascii=False, sort_keys=True)
