"""Drafts: save, patch and restore a blueprint. Every save also stores a revision.

Saves of one author within a minute share one revision, which has the document of the last of them.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from django.db import connection, transaction
from django.db.models import JSONField, Q, TextField, Value
from django.db.models.functions import Cast
from django.utils import timezone

from audit.actors import Actor
from audit.services import record
from core import tenancy
from core.errors import FieldProblem, Invalid, NotFound, QuotaExceeded
from core.http.preconditions import IfMatch, IfMatchTag
from core.ids import uuid7
from core.storage.documents import to_json
from sites.blueprint import json_patch, schema
from sites.models import Draft, Preview, Review, Revision, Schedule, Site
from sites.services import quotas

# Saves of one author within this time after the first of them become one revision.
REVISION_INTERVAL = timedelta(minutes=1)
# `replaced` is the previous revision, if this one takes its place. The first revision of a site always stays,
# and so does a revision that was published.
INSERT_REVISION_SQL = """
    WITH replaced AS (
        DELETE FROM sites_revision AS r
        WHERE site_id = %(site_id)s
          AND version = %(version)s - 1
          AND version > 1
          AND author_id = %(author_id)s
          AND created_at > %(replace_since)s
          AND NOT EXISTS (
            SELECT FROM sites_release WHERE site_id = r.site_id AND created_at >= r.created_at
          )
          AND NOT sites_is_referenced(id)
        RETURNING size, created_at
    )
    INSERT INTO sites_revision (id, site_id, version, blueprint, size, author_id, created_at)
    SELECT
        %(id)s, site_id, version, blueprint, size, author_id,
        coalesce((SELECT created_at FROM replaced), %(now)s)
    FROM sites_draft
    WHERE site_id = %(site_id)s
    RETURNING size - coalesce((SELECT size FROM replaced), 0), size
"""
DELETE_OLDEST_REVISIONS_SQL = """
    WITH deletable AS (
        SELECT id, sum(size) OVER (ORDER BY version) - size AS size_of_older
        FROM sites_revision
        WHERE site_id = %s AND version < %s AND NOT sites_is_referenced(id)
    ),
    deleted AS (
        DELETE FROM sites_revision
        WHERE id IN (SELECT id FROM deletable WHERE size_of_older < %s)
        RETURNING size
    )
    SELECT coalesce(sum(size), 0)::bigint FROM deleted
"""
# Pairs of (maximum age, minimum time between two revisions of that age). In each interval the newest
# revision stays. Revisions older than the last maximum age are deleted.
REVISION_SPACING = [
    (timedelta(hours=24), timedelta(0)),
    (timedelta(days=7), timedelta(hours=1)),
    (timedelta(days=90), timedelta(days=1)),
    (timedelta(days=730), timedelta(days=7)),
]


@transaction.atomic
def save_draft(site: Site, document: Any, *, actor: Actor, if_match: IfMatch) -> Draft:
    """Replace the draft's blueprint.

    Raises Invalid with JSON Pointers into the document, PreconditionFailed.
    """
    return _update_draft(site, schema.validate_blueprint(document), actor=actor, if_match=if_match)


@transaction.atomic
def patch_draft(site: Site, operations: Any, *, actor: Actor, if_match: IfMatch) -> Draft:
    """Apply a JSON Patch (RFC 6902) to the draft: all operations or none of them.

    Raises Invalid, PatchTestFailed, PreconditionFailed.
    """
    json_patch.validate_operations(operations)
    return _update_draft(
        site,
        lambda document: schema.validate_blueprint(json_patch.apply_patch(document, operations)),
        actor=actor,
        if_match=if_match,
    )


@transaction.atomic
def patch_block(
    site: Site, block_id: str, changes: dict[str, Any], *, actor: Actor, if_match: IfMatchTag
) -> dict[str, Any]:
    """Merge `changes` into one block of the draft (JSON Merge Patch, RFC 7396) and return the block.

    The precondition is the entity tag of this block, so that two people can edit two blocks of one draft at
    the same time.

    Raises NotFound, PreconditionFailed, and Invalid with JSON Pointers into the blueprint.
    """
    for name in ("id", "type"):
        if name in changes:
            raise Invalid(
                [FieldProblem(f"/{name}", "fixed", "A block keeps its id and its type. Replace it instead.")]
            )

    def merge_into_document(document: dict[str, Any]) -> dict[str, Any]:
        block = find_block(document, block_id)
        if_match.require_match(block_etag(block))
        merged_block = json_patch.merge_patch(block, changes)
        block.clear()
        block.update(merged_block)
        return schema.validate_blueprint(document)

    draft = _update_draft(
        site,
        merge_into_document,
        actor=actor,
        if_match=IfMatch(None),
        audit_fields={"block": block_id},
    )
    return find_block(draft.blueprint, block_id)


@transaction.atomic
def restore_blueprint(
    site: Site, document: dict[str, Any], *, actor: Actor, if_match: IfMatch, source: str
) -> Draft:
    """Save `document`, the blueprint of an earlier revision or release, as the new draft.

    `source` names the origin in the audit entry, for example "revision 4".

    Raises Invalid when the stored document is not valid any more, PreconditionFailed.
    """
    return _update_draft(
        site,
        schema.validate_blueprint(document),
        actor=actor,
        if_match=if_match,
        audit_fields={"restored": source},
        replace_revision=False,  # the state before the restore is what an undo needs
    )


def _update_draft(
    site: Site,
    change: dict[str, Any] | Callable[[dict[str, Any]], dict[str, Any]],
    *,
    actor: Actor,
    if_match: IfMatch,
    audit_fields: dict[str, Any] | None = None,
    replace_revision: bool = True,
) -> Draft:
    """Lock the draft, store a new blueprint under the next version and create its revision.

    `change` is the new blueprint, or a function that returns it from the current one. A blueprint has up to
    10 MiB: it is serialized to JSON once, and the revision is copied from it inside the database.
    `audit_fields` are added to the audit entry. With `replace_revision` the revision takes the place of the
    same author's previous one of the last minute.

    Raises PreconditionFailed, QuotaExceeded.
    """
    locked_drafts = Draft.objects.select_for_update()
    draft = (locked_drafts if callable(change) else locked_drafts.defer("blueprint")).get(site=site)
    if_match.require_match(draft.version)
    former_size = draft.size
    draft.blueprint = change(draft.blueprint) if callable(change) else change
    draft.version = draft.version + 1
    draft.author_id = actor.id
    draft.updated_at = timezone.now()
    Draft.objects.filter(pk=draft.pk).update(
        blueprint=Cast(Value(to_json(draft.blueprint), output_field=TextField()), JSONField()),
        version=draft.version,
        author_id=draft.author_id,
        updated_at=draft.updated_at,
    )
    replace_since = draft.updated_at - REVISION_INTERVAL if replace_revision else None
    added, size = create_revision(draft, replace_since=replace_since)
    added += size - former_size
    _require_room(site, draft.version, added=added, shrinks=size < former_size)
    record("draft.saved", actor=actor, subject=site, version=draft.version, **(audit_fields or {}))
    return draft


def _require_room(site: Site, version: int, *, added: int, shrinks: bool) -> None:
    """Refuse a save that exceeds the quota of the site's owner. `version` is the new one of the draft.

    A draft that became smaller is accepted all the same: the oldest revisions are deleted to make room for
    its revision. Raises QuotaExceeded.
    """
    try:
        quotas.require_room(site, added=added)
    except QuotaExceeded:
        if not shrinks:
            raise
        with connection.cursor() as cursor:
            cursor.execute(DELETE_OLDEST_REVISIONS_SQL, [site.pk, version, added])
            (freed,) = cursor.fetchone()
        quotas.require_room(site, added=added - freed)


def create_revision(draft: Draft, *, replace_since: datetime | None = None) -> tuple[int, int]:
    """Copy the stored draft into a new revision. Returns the bytes that were added, and its size.

    The blueprint is copied inside the database, so that it is neither sent nor compressed again. With
    `replace_since` the new revision takes the place, and the `created_at`, of the previous one, if the same
    author saved it later than that and nothing refers to it.
    """
    parameters = {
        "id": uuid7(),
        "site_id": draft.pk,
        "version": draft.version,
        "author_id": draft.author_id,
        "replace_since": replace_since,
        "now": timezone.now(),
    }
    with connection.cursor() as cursor:
        cursor.execute(INSERT_REVISION_SQL, parameters)
        added, size = cursor.fetchone()
    return added, size


def find_block(document: dict[str, Any], block_id: str) -> dict[str, Any]:
    """Return the block with this id, at any depth of any page. Raises NotFound."""
    for page in document.get("pages", []):
        for _, block, _ in schema.walk_blocks(page.get("blocks", []), ()):
            if block["id"] == block_id:
                return block
    raise NotFound


def block_etag(block: dict[str, Any]) -> str:
    """Return the entity tag of a block without quotes: a digest of its content, nested blocks included."""
    return json_patch.json_digest(block)


def thin_revisions(*, now: datetime) -> int:
    """Delete the revisions that `REVISION_SPACING` does not keep at `now`. Returns how many were deleted.

    Three kinds of revisions are kept at any age: the newest of each site, and those that an open schedule,
    an open review or a preview link refers to.
    """
    deleted = 0
    open_schedules = Schedule.objects.filter(status__in=Schedule.OPEN)
    open_reviews = Review.objects.filter(status=Review.Status.OPEN)
    referenced = Q()
    for rows in (open_schedules, open_reviews, Preview.objects.all()):
        # `exclude(revision=None)` matters: in SQL, NOT IN over a list with a NULL is never true.
        referenced |= Q(pk__in=rows.exclude(revision=None).values("revision"))
    with tenancy.context(tenancy.SYSTEM):
        site_ids = list(Revision.objects.order_by("site_id").values_list("site_id", flat=True).distinct())
    # Each site has a transaction of its own, because a deletion locks the storage usage of the site's owner.
    # The draft is locked, so that no save adds or replaces a revision meanwhile.
    for site_id in site_ids:
        with tenancy.context(tenancy.SYSTEM):
            if Draft.objects.select_for_update().defer("blueprint").filter(pk=site_id).first() is None:
                continue  # deleted by a concurrent request
            revisions = list(
                Revision.objects.filter(site_id=site_id).order_by("-version").values_list("pk", "created_at")
            )
            newest_id = revisions[0][0]
            kept = {newest_id} | _revisions_to_keep(revisions, now=now)
            obsolete = Revision.objects.filter(site_id=site_id).exclude(Q(pk__in=kept) | referenced)
            deleted += obsolete.delete()[0]
    return deleted


def _revisions_to_keep(revisions: list[tuple[Any, datetime]], *, now: datetime) -> set[Any]:
    """Return the ids that `REVISION_SPACING` keeps. `revisions` are (id, created_at), newest first."""
    kept = set()
    last_kept_at = None
    for pk, created_at in revisions:
        spacing = next(
            (spacing for max_age, spacing in REVISION_SPACING if now - created_at <= max_age), None
        )
        if spacing is None:
            break
        if last_kept_at is None or last_kept_at - created_at >= spacing:
            kept.add(pk)
            last_kept_at = created_at
    return kept
