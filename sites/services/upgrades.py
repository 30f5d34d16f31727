"""What was stored by an older version of us: brought to the newest shape, or looked through."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from audit.actors import SYSTEM
from audit.services import record
from core import tenancy
from core.errors import FieldProblem, Invalid
from sites.blueprint import block_upgrades, schema
from sites.models import Draft, Post, Release, Revision
from sites.services.drafts import compact, keep_revision

CHUNK = 20  # documents of up to 10 MiB


@dataclass(frozen=True, slots=True)
class Found:
    """One stored document: how many of its blocks are older, and what is wrong with it, if anything."""

    kind: str
    id: UUID
    site_id: UUID
    older: int
    faults: tuple[FieldProblem, ...]

    def told(self) -> str:
        """A line for the operator, with the first faults."""
        where = "; ".join(f"{fault.pointer}: {fault.detail}" for fault in self.faults[:3])
        return f"{self.kind} {self.id} of site {self.site_id}: {len(self.faults)} faults: {where}"


def upgrade_blueprints(*, dry_run: bool) -> Iterator[Found]:
    """Bring drafts and posts to the newest block shapes; yield each that was older.

    A faulty one is left as it is.

    Releases and revisions never change: they are upgraded each time they are read.
    """
    for model, keep in ((Draft, _keep_draft), (Post, _keep_post)):
        with tenancy.context(tenancy.SYSTEM):
            ids = list(model.objects.order_by("pk").values_list("pk", flat=True))
        for pk in ids:
            with tenancy.context(tenancy.SYSTEM):  # a transaction for each: nobody waits longer than for one
                held = model.objects.select_for_update().filter(pk=pk).first()
                found = look(held) if held else None
                if found and found.older and not found.faults and not dry_run:
                    keep(held, found)  # type: ignore[arg-type]
            if found and found.older:
                yield found


def _keep_draft(draft: Draft, found: Found) -> None:
    draft.version = draft.version + 1
    draft.author = None
    draft.save(update_fields=["blueprint", "version", "author", "updated_at"])
    keep_revision(draft, compact(draft.blueprint))
    record("draft.upgraded", actor=SYSTEM, subject=draft.site, version=draft.version, blocks=found.older)


def _keep_post(post: Post, found: Found) -> None:
    post.version += 1
    post.save(update_fields=["blocks", "version", "updated_at"])
    record("post.upgraded", actor=SYSTEM, subject=post, blocks=found.older)


def check_blueprints(*, revisions: bool) -> Iterator[Found]:
    """Look through every draft, release and post, and revisions where asked; yield what was found out about
    each.
    """
    kinds: list[Any] = [Draft, Release, Post, *([Revision] if revisions else [])]
    for model in kinds:
        with tenancy.context(tenancy.SYSTEM):
            for row in model.objects.order_by("pk").iterator(chunk_size=CHUNK):
                yield look(row)


def look(row: Any) -> Found:
    """Upgrade what a row has, in memory, and validate a copy of it."""
    is_post = isinstance(row, Post)
    document: Any = {"pages": [{"blocks": row.blocks}]} if is_post else row.blueprint
    older = block_upgrades.upgrade_blueprint(document)
    check: Callable[[], Any] = (
        (lambda: schema.validate_blocks(row.blocks, pages=None))
        if is_post
        else (lambda: schema.validate_blueprint(document))
    )
    try:
        check()
    except Invalid as refusal:
        return Found(type(row).__name__.lower(), row.pk, row.site_id, older, tuple(refusal.errors))
    return Found(type(row).__name__.lower(), row.pk, row.site_id, older, ())
