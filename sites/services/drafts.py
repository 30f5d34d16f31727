"""Drafts: saved whole, patched, restored; each save is kept as a revision."""

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from django.db import connection, transaction
from django.db.models import JSONField, Q, TextField, Value
from django.db.models.functions import Cast
from django.utils import timezone

from audit.actors import Actor
from audit.services import record
from core.errors import FieldProblem, Invalid, NotFound
from core.http.preconditions import IfMatch, IfMatchTag
from core.ids import uuid7
from sites.blueprint import json_patch, schema
from sites.models import Draft, Preview, Review, Revision, Schedule, Site

KEEP = (
    "INSERT INTO sites_revision (id, site_id, version, blueprint, size, author_id, created_at) "
    "SELECT %s, site_id, version, blueprint, %s, author_id, %s FROM sites_draft WHERE site_id = %s"
)
# How far apart revisions are kept, by age; the newest of each span stays. Older than the last: none.
SPANS = [
    (timedelta(hours=24), timedelta(0)),
    (timedelta(days=7), timedelta(hours=1)),
    (timedelta(days=90), timedelta(days=1)),
    (timedelta(days=730), timedelta(days=7)),
]


@transaction.atomic
def save_draft(site: Site, document: Any, *, actor: Actor, if_match: IfMatch) -> Draft:
    """Replace the draft's blueprint. Raises Invalid with pointers, PreconditionFailed."""
    return _store(site, schema.validate(document), actor=actor, if_match=if_match)


@transaction.atomic
def patch_draft(site: Site, operations: Any, *, actor: Actor, if_match: IfMatch) -> Draft:
    """Apply a JSON Patch (RFC 6902), all of it or nothing.

    Raises Invalid, PatchTestFailed, PreconditionFailed.
    """
    json_patch.check(operations)
    return _store(
        site,
        lambda document: schema.validate(json_patch.apply_patch(document, operations)),
        actor=actor,
        if_match=if_match,
    )


@transaction.atomic
def patch_block(
    site: Site, block_id: str, changes: dict[str, Any], *, actor: Actor, if_match: IfMatchTag
) -> dict[str, Any]:
    """Merge `changes` (RFC 7396) into one block under its own tag: whoever edits another block is not in the
    way.

    Raises NotFound, PreconditionFailed, and Invalid with pointers into the blueprint.
    """
    for fixed in ("id", "type"):
        if fixed in changes:
            raise Invalid(
                [FieldProblem(f"/{fixed}", "fixed", "A block keeps its id and its type. Replace it instead.")]
            )

    def merged(document: dict[str, Any]) -> dict[str, Any]:
        block = find_block(document, block_id)
        if_match.require_match(tag_of(block))
        fresh = json_patch.merge_patch(block, changes)
        block.clear()
        block.update(fresh)
        return schema.validate(document)

    draft = _store(site, merged, actor=actor, if_match=IfMatch(None), block=block_id)
    return find_block(draft.blueprint, block_id)


@transaction.atomic
def restore_blueprint(
    site: Site, document: dict[str, Any], *, actor: Actor, if_match: IfMatch, source: str
) -> Draft:
    """Make what a revision or a release had the draft.

    `source` names it for the trail. Raises PreconditionFailed.
    """
    return _store(site, schema.validate(document), actor=actor, if_match=if_match, restored=source)


def _store(
    site: Site,
    change: dict[str, Any] | Callable[[dict[str, Any]], dict[str, Any]],
    *,
    actor: Actor,
    if_match: IfMatch,
    **facts: Any,
) -> Draft:
    """`change` is the new blueprint, or makes it out of the old one.

    It becomes JSON once, and is copied in the database.
    """
    held = Draft.objects.select_for_update()
    draft = (held if callable(change) else held.defer("blueprint")).get(site=site)
    if_match.require_match(draft.version)
    draft.blueprint = change(draft.blueprint) if callable(change) else change
    draft.version = draft.version + 1
    draft.author_id = actor.id
    draft.updated_at = timezone.now()
    text = compact(draft.blueprint)
    Draft.objects.filter(pk=draft.pk).update(
        blueprint=Cast(Value(text, output_field=TextField()), JSONField()),
        version=draft.version,
        author_id=draft.author_id,
        updated_at=draft.updated_at,
    )
    keep_revision(draft, text)
    record("draft.saved", actor=actor, subject=site, version=draft.version, **facts)
    return draft


def compact(document: dict[str, Any]) -> str:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"))


def keep_revision(draft: Draft, text: str) -> None:
    """The draft as it is stored now, for ever: a trigger refuses changes.

    `text` is its blueprint as JSON, for the size.

    Copied within the database, compressed as it is.
    """
    size = len(text.encode())
    with connection.cursor() as cursor:
        cursor.execute(KEEP, [uuid7(), size, timezone.now(), draft.pk])


def find_block(document: dict[str, Any], block_id: str) -> dict[str, Any]:
    """The block with this id, wherever it is. Raises NotFound."""
    for page in document.get("pages", []):
        for _, block, _ in schema.walk(page.get("blocks", []), ()):
            if block["id"] == block_id:
                return block
    raise NotFound


def tag_of(block: dict[str, Any]) -> str:
    """An entity tag from the content of a block, what is inside it included."""
    return json_patch.digest(block)


def thin_revisions(*, now: datetime) -> int:
    """Delete revisions that `SPANS` does not keep at `now`; return how many.

    The newest of a site stays at any age, and so does one that a plan, an open review or a preview link
    refers to.
    """
    gone = 0
    # Without the rows that name none: one NULL in a list makes NOT IN keep everything.
    planned = Schedule.objects.filter(state__in=Schedule.OPEN)
    asked = Review.objects.filter(state=Review.State.OPEN)
    pinned = Q()
    for rows in (planned, asked, Preview.objects.all()):
        pinned |= Q(pk__in=rows.exclude(revision=None).values("revision"))
    for site_id in Revision.objects.order_by("site_id").values_list("site_id", flat=True).distinct():
        times = list(
            Revision.objects.filter(site_id=site_id).order_by("-version").values_list("pk", "created_at")
        )
        kept = {times[0][0]} | _kept(times, now=now)
        gone += Revision.objects.filter(site_id=site_id).exclude(Q(pk__in=kept) | pinned).delete()[0]
    return gone


def _kept(times: list[tuple[Any, datetime]], *, now: datetime) -> set[Any]:
    """Newest first in, ids of those to keep out."""
    kept = set()
    last = None
    for pk, made in times:
        apart = next((apart for age, apart in SPANS if now - made <= age), None)
        if apart is None:
            break
        if last is None or last - made >= apart:
            kept.add(pk)
            last = made
    return kept
