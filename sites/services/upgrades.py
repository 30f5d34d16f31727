"""Upgrade stored blueprints and posts to the newest block versions, and validate everything stored."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import models

from audit.actors import SYSTEM
from audit.services import record
from core import tenancy
from core.errors import FieldProblem, Invalid
from sites.blueprint import block_upgrades, schema
from sites.models import Draft, Post, Release, Revision
from sites.services.drafts import create_revision

CHUNK_SIZE = 20  # rows in memory; each has a document of up to 10 MiB


@dataclass(frozen=True, slots=True)
class StoredDocument:
    """The result of validating one stored row.

    `kind` is the model's name in lower case, `older` the number of blocks in an older version, and `faults`
    are the validation errors.
    """

    kind: str
    id: UUID
    site_id: UUID
    older: int
    faults: tuple[FieldProblem, ...]

    def summary(self) -> str:
        """Return one line for the operator, with the first three errors."""
        first_faults = "; ".join(f"{fault.pointer}: {fault.detail}" for fault in self.faults[:3])
        return f"{self.kind} {self.id} of site {self.site_id}: {len(self.faults)} faults: {first_faults}"


def upgrade_blueprints(*, dry_run: bool) -> Iterator[StoredDocument]:
    """Upgrade the blocks of drafts and posts to their newest version. Yields every row with older blocks.

    A row that is not valid after the upgrade is not changed. Releases and revisions are never changed: they
    are upgraded in memory whenever they are read. Each row has a transaction of its own, so that a
    concurrent request waits for one row at most.
    """
    models_to_upgrade: list[type[Draft] | type[Post]] = [Draft, Post]
    for model in models_to_upgrade:
        with tenancy.context(tenancy.SYSTEM):
            ids = list(model.objects.order_by("pk").values_list("pk", flat=True))
        for pk in ids:
            with tenancy.context(tenancy.SYSTEM):
                row = model.objects.select_for_update().filter(pk=pk).first()
                if row is None:  # deleted by a concurrent request
                    continue
                document = validate_stored_row(row)
                if document.older and not document.faults and not dry_run:
                    _save_upgraded_row(row, upgraded_blocks=document.older)
            if document.older:
                yield document


def _save_upgraded_row(row: Draft | Post, *, upgraded_blocks: int) -> None:
    if isinstance(row, Post):
        _save_upgraded_post(row, upgraded_blocks=upgraded_blocks)
    else:
        _save_upgraded_draft(row, upgraded_blocks=upgraded_blocks)


def _save_upgraded_draft(draft: Draft, *, upgraded_blocks: int) -> None:
    draft.version = draft.version + 1
    draft.author = None
    draft.save(update_fields=["blueprint", "version", "author", "updated_at"])
    create_revision(draft)
    record("draft.upgraded", actor=SYSTEM, subject=draft.site, version=draft.version, blocks=upgraded_blocks)


def _save_upgraded_post(post: Post, *, upgraded_blocks: int) -> None:
    post.version += 1
    post.save(update_fields=["blocks", "version", "updated_at"])
    record("post.upgraded", actor=SYSTEM, subject=post, blocks=upgraded_blocks)


def check_blueprints(*, revisions: bool) -> Iterator[StoredDocument]:
    """Validate every draft, release and post, and with `revisions` every revision. Yields a result for each.

    Changes nothing in the database.
    """
    models_to_check: list[type[models.Model]] = [Draft, Release, Post]
    if revisions:
        models_to_check.append(Revision)
    for model in models_to_check:
        with tenancy.context(tenancy.SYSTEM):
            for row in model._default_manager.order_by("pk").iterator(chunk_size=CHUNK_SIZE):
                yield validate_stored_row(row)


def validate_stored_row(row: Any) -> StoredDocument:
    """Upgrade the blocks of a draft, release, revision or post in memory, then validate them."""
    is_post = isinstance(row, Post)
    document: Any = {"pages": [{"blocks": row.blocks}]} if is_post else row.blueprint
    older = block_upgrades.upgrade_blueprint(document)
    faults: tuple[FieldProblem, ...] = ()
    try:
        if is_post:
            schema.validate_blocks(row.blocks, pages=None)
        else:
            schema.validate_blueprint(document)
    except Invalid as error:
        faults = tuple(error.errors)
    return StoredDocument(type(row).__name__.lower(), row.pk, row.site_id, older, faults)
