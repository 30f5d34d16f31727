"""What happens to a person or a site as a whole.

Apps add their part; the caller needs to know none of them.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from django.db import transaction

from core import tenancy

Subject = Literal["person", "site"]
Hide = Callable[[UUID, datetime], None]
Purge = Callable[[datetime], int]
Export = Callable[[UUID], Iterator[tuple[str, Any]]]
Erase = Callable[[UUID | None, frozenset[str]], dict[str, int]]
NewSecret = Callable[[UUID, datetime, bool, Any], None]

_hide: dict[Subject, list[Hide]] = {"person": [], "site": []}
_restore: dict[Subject, list[Hide]] = {"person": [], "site": []}
_purge: list[Purge] = []
_export: list[Export] = []
_erase: list[Erase] = []
_new_secret: list[NewSecret] = []


def on_soft_delete(subject: Subject, act: Hide) -> None:
    """`act(id, moment)` hides what belongs to the subject, in the caller's transaction."""
    _hide[subject].append(act)


def on_restore(subject: Subject, act: Hide) -> None:
    """`act(id, moment)` brings back what was hidden together with the subject at `moment`."""
    _restore[subject].append(act)


def on_purge(act: Purge) -> None:
    """`act(before)` deletes for good what was hidden before `before`, its dependants first; returns how many."""
    _purge.append(act)


def on_export(act: Export) -> None:
    """`act(id)` yields what is personal of a person: a path in the archive and a JSON value, or for a path
    that ends in `.jsonl` an iterator of them.
    """
    _export.append(act)


def on_erase(act: Erase) -> None:
    """`act(id, addresses)` deletes for good what is personal of a person, in one transaction and context
    `system`, and counts it by name. `addresses` are theirs now and before; without an id only they are known.
    """
    _erase.append(act)


def on_password_replaced(act: NewSecret) -> None:
    """`act(id, moment, lost, brought)` is told that the password of a blind account is being replaced, in
    that transaction, with its row held. It raises what stands against it; takes what was `brought` for the
    new one; or when the old one is `lost`, gives up what only that could open.
    """
    _new_secret.append(act)


def soft_delete(subject: Subject, pk: UUID, *, moment: datetime) -> None:
    for act in _hide[subject]:
        act(pk, moment)


def restore(subject: Subject, pk: UUID, *, moment: datetime) -> None:
    for act in _restore[subject]:
        act(pk, moment)


def purge_expired(*, before: datetime) -> int:
    """Everything hidden before `before` goes, in the order of app registration reversed: sites before people."""
    gone = 0
    for act in reversed(_purge):
        with transaction.atomic():
            gone += act(before)
    return gone


def export_personal_data(pk: UUID) -> Iterator[tuple[str, Any]]:
    """Everything personal of a person, in the order of app registration."""
    for act in _export:
        yield from act(pk)


def replace_password(pk: UUID, *, moment: datetime, lost: bool, brought: Any) -> None:
    for act in _new_secret:
        act(pk, moment, lost, brought)


def erase_personal_data(pk: UUID | None, addresses: frozenset[str]) -> dict[str, int]:
    """Everything personal of a person goes for good, in the order of app registration reversed; what was how
    many.
    """
    gone: Counter[str] = Counter()
    with tenancy.context(tenancy.SYSTEM):
        for act in reversed(_erase):
            gone.update(act(pk, addresses))
    return dict(gone)
