"""Texts as numbers.

A writer asks the database for the texts of a batch that it does not know, once for all of them.
"""

from collections.abc import Iterable
from datetime import date

from django.db import connection, transaction

from analytics.models import Term

MOST_A_DAY = 20_000  # new texts of one site and sort; the rest are counted as OTHER
OTHER = "(other)"
MAX_TEXT = 500
KEPT = 200_000  # in memory
Key = tuple[int, int, str]  # site number, sort, text

Book = tuple[dict[str, str], ...]

_books: dict[
    int, Book
] = {}  # by site: for each sort, the number of each known text as COPY writes it; no text is no number
_kept = 0


def book_of(site: int) -> Book:
    """The texts of a site that this process knows."""
    book = _books.get(site)
    if book is None:
        book = _books[site] = tuple({"": "\\N"} for _ in range(len(Term.Sort) + 1))
    return book


def resolve(wanted: set[Key], *, today: date) -> dict[Key, int]:
    """The number of each text. Four queries when some are new. In the writer's transaction."""
    if not wanted:
        return {}
    there = _read(wanted)
    new = wanted - there.keys()
    capped = _beyond_the_cap(new, today) if new else set()
    there |= _add((new - capped) | {(site, sort, OTHER) for site, sort, _ in capped}, today)
    for key in capped:
        there[key] = there[key[0], key[1], OTHER]
    kept = {key: number for key, number in there.items() if key not in capped}
    transaction.on_commit(lambda: _remember(kept))  # not before: a number that was rolled back is nobody's
    return there


def _read(keys: Iterable[Key]) -> dict[Key, int]:
    rows = list(keys)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT t.site_number, t.sort, t.text, t.id FROM unnest(%s::int[], %s::smallint[], %s::text[]) AS w(site, sort, text) "
            "JOIN analytics_term t ON t.site_number = w.site AND t.sort = w.sort AND t.text = w.text",
            [list(column) for column in zip(*rows, strict=True)],
        )
        return {(site, sort, text): number for site, sort, text, number in cursor.fetchall()}


def _add(keys: set[Key], today: date) -> dict[Key, int]:
    """In order, so that two writers never wait for each other."""
    if not keys:
        return {}
    rows = [Term(site_number=site, sort=sort, text=text, since=today) for site, sort, text in sorted(keys)]
    Term.objects.bulk_create(rows, ignore_conflicts=True)
    return _read(keys)


def _beyond_the_cap(keys: set[Key], today: date) -> set[Key]:
    """Those that would make too many new texts today. A flood of invented paths must not fill the disk."""
    new: dict[tuple[int, int], list[Key]] = {}
    for key in sorted(keys):
        new.setdefault(key[:2], []).append(key)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT w.site, w.sort, count(t.id) FROM unnest(%s::int[], %s::smallint[]) AS w(site, sort) "
            "LEFT JOIN analytics_term t ON t.site_number = w.site AND t.sort = w.sort AND t.since = %s GROUP BY 1, 2",
            [*(list(column) for column in zip(*new, strict=True)), today],
        )
        there = {(site, sort): count for site, sort, count in cursor.fetchall()}
    return {key for pair, mine in new.items() for key in mine[max(0, MOST_A_DAY - there[pair]) :]}


def _remember(numbers: dict[Key, int]) -> None:
    global _kept
    _kept += len(numbers)
    if _kept > KEPT:
        forget_known()
        _kept = len(numbers)
    for (site, sort, text), number in numbers.items():
        book_of(site)[sort][text] = str(number)


def forget_known() -> None:
    _books.clear()
