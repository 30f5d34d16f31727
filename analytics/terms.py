"""Texts as numbers. A writer asks the database for the texts of a batch that it does not know, once for all of them."""

from collections import OrderedDict
from collections.abc import Iterable
from datetime import date

from django.db import connection, transaction

from analytics.models import Term

MOST_A_DAY = 20_000  # new texts of one site and sort; the rest are counted as OTHER
OTHER = "(other)"
MAX_TEXT = 500
KEPT = 200_000  # in memory
Key = tuple[int, int, str]  # site number, sort, text

_known: OrderedDict[Key, int] = OrderedDict()


def resolve(wanted: set[Key], *, today: date) -> dict[Key, int]:
    """The number of each text. Three queries when some are new, none when all are known. In the writer's transaction."""
    found = {key: _known[key] for key in wanted if key in _known}
    missing = wanted - found.keys()
    if not missing:
        return found
    there = _read(missing)
    new = missing - there.keys()
    capped = _beyond_the_cap(new, today) if new else set()
    there |= _add((new - capped) | {(site, sort, OTHER) for site, sort, _ in capped}, today)
    for key in capped:
        there[key] = there[key[0], key[1], OTHER]
    kept = {key: number for key, number in there.items() if key not in capped}
    transaction.on_commit(lambda: _remember(kept))  # not before: a number that was rolled back is nobody's
    return found | there


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
    pairs = {(site, sort) for site, sort, _ in keys}
    beyond: set[Key] = set()
    for site, sort in pairs:
        mine = sorted(key for key in keys if key[:2] == (site, sort))
        there = Term.objects.filter(site_number=site, sort=sort, since=today).count()
        beyond.update(mine[max(0, MOST_A_DAY - there) :])
    return beyond


def _remember(numbers: dict[Key, int]) -> None:
    _known.update(numbers)
    while len(_known) > KEPT:
        _known.popitem(last=False)


def forget_known() -> None:
    _known.clear()
