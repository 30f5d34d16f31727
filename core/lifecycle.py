"""What happens to a person or a site as a whole. Apps add their part; the caller needs to know none of them."""

from collections.abc import Callable
from datetime import datetime
from typing import Literal
from uuid import UUID

from django.db import transaction

Subject = Literal["person", "site"]
Hide = Callable[[UUID, datetime], None]
Purge = Callable[[datetime], int]

_hide: dict[Subject, list[Hide]] = {"person": [], "site": []}
_restore: dict[Subject, list[Hide]] = {"person": [], "site": []}
_purge: list[Purge] = []


def on_hide(subject: Subject, act: Hide) -> None:
    """`act(id, moment)` hides what belongs to the subject, in the caller's transaction."""
    _hide[subject].append(act)


def on_restore(subject: Subject, act: Hide) -> None:
    """`act(id, moment)` brings back what was hidden together with the subject at `moment`."""
    _restore[subject].append(act)


def on_purge(act: Purge) -> None:
    """`act(before)` deletes for good what was hidden before `before`, its dependants first; returns how many."""
    _purge.append(act)


def hide(subject: Subject, pk: UUID, *, moment: datetime) -> None:
    for act in _hide[subject]:
        act(pk, moment)


def restore(subject: Subject, pk: UUID, *, moment: datetime) -> None:
    for act in _restore[subject]:
        act(pk, moment)


def purge(*, before: datetime) -> int:
    """Everything hidden before `before` goes, in the order of app registration reversed: sites before people."""
    gone = 0
    for act in reversed(_purge):
        with transaction.atomic():
            gone += act(before)
    return gone
