"""The audit trail as JSON lines that can be verified with the public key alone (`audit.offline_verify`).

The first line is a header. Then follow, in the order of the chain, exported entries (`entry`) and the bare
leaf hashes (`leaf`) of the entries between an exported entry and the next checkpoint; then that checkpoint. A
reader recomputes the chain over each unbroken run of numbers and compares it with the signed checkpoint at
the end of the run.
"""

import base64
import json
from collections.abc import Iterator
from typing import Any
from uuid import UUID

from django.db import connection, transaction

from audit.chain import hashing, signing_keys
from audit.chain.sealing import HASHED_COLUMNS
from audit.models import Checkpoint

FORMAT = "getyousite-audit-export"
ROWS_PER_QUERY = 10_000
SEALED_ROWS = f"""
    SELECT s.number, s.leaf, s.digest, e.site_id, e.owner_id, e.actor_id, {HASHED_COLUMNS},
           (SELECT json_object_agg(p.field, json_build_array(encode(p.salt, 'base64'), p.value))
            FROM audit_personal p
            WHERE p.entry_id = e.id)
    FROM audit_seal s
    LEFT JOIN audit_entry e ON e.id = s.entry_id
    WHERE s.number > %s
    ORDER BY s.number
    LIMIT %s
"""  # noqa: S608 - HASHED_COLUMNS is a constant of ours


def export_lines(
    *, site: UUID | None = None, owner: UUID | None = None, personal_values: bool = True
) -> Iterator[str]:
    """Yield the lines of an export, all read in one transaction.

    `site` exports the entries of one site; `owner` those of which a person is the owner or the actor; neither
    exports everything. With `personal_values=False` a reader counts every personal value as erased.

    Only sealed entries that a checkpoint covers can be proven, so the export ends at the newest checkpoint.
    """
    with transaction.atomic():
        documents = dict(Checkpoint.objects.order_by("number").values_list("number", "document"))
        last_number = max(documents, default=0)
        header = {
            "format": FORMAT,
            "version": 1,
            "keys": signing_keys.encoded_public_keys(),
            "genesis": hashing.GENESIS_DIGEST.hex(),
            "last": last_number,
        }
        yield _to_line("header", header)
        run: list[str] = []
        run_has_entries = False
        previous_digest = hashing.GENESIS_DIGEST
        for number, leaf, digest, site_id, owner_id, actor_id, *values, personal in _sealed_rows(last_number):
            if not run:
                run.append(_to_line("start", {"number": number, "previous": previous_digest.hex()}))
            is_exported = values[0] is not None and _in_scope(site, owner, site_id, owner_id, actor_id)
            run_has_entries |= is_exported
            if is_exported:
                run.append(_entry_line(number, values, (personal_values and personal) or {}))
            else:
                run.append(_leaf_line(number, bytes(leaf)))
            previous_digest = bytes(digest)
            if number not in documents:
                continue
            # A run ends at each checkpoint. A run without exported entries is left out.
            if run_has_entries:
                yield from run
                yield _to_line("checkpoint", {"document": documents[number]})
            run = []
            run_has_entries = False


def _sealed_rows(last_number: int) -> Iterator[Any]:
    number = 0
    while number < last_number:
        with connection.cursor() as cursor:
            cursor.execute(SEALED_ROWS, [number, ROWS_PER_QUERY])
            rows = cursor.fetchall()
        if not rows:
            return
        for row in rows:
            if row[0] > last_number:
                return
            yield row
        number = rows[-1][0]


def _in_scope(
    site: UUID | None, owner: UUID | None, site_id: UUID | None, owner_id: UUID | None, actor_id: UUID | None
) -> bool:
    if site is not None:
        return site_id == site
    return owner is None or owner in {owner_id, actor_id}


def _entry_line(number: int, values: list[str], personal: dict[str, Any]) -> str:
    fields = dict(zip(hashing.HASHED_FIELDS, values, strict=True))
    return _to_line("entry", {"number": number, "fields": fields, "personal": personal})


def _leaf_line(number: int, leaf: bytes) -> str:
    return _to_line("leaf", {"number": number, "leaf": base64.b64encode(leaf).decode()})


def _to_line(kind: str, fields: dict[str, Any]) -> str:
    return json.dumps({"kind": kind, **fields}, ensure_ascii=False, sort_keys=True)
