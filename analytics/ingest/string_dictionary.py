"""Replaces the texts of events by the ids of terms (dictionary encoding), with a cache in process memory.

For each batch, the writer asks the database once for all texts that are not cached.
"""

from collections.abc import Iterable
from datetime import date

from django.db import connection, transaction

from analytics.models import Term

# New texts of one site and sort; further ones are counted as `OTHER_TEXT`.
MAX_NEW_TERMS_PER_DAY = 20_000
OTHER_TEXT = "(other)"
MAX_TEXT_CHARACTERS = 500
MAX_CACHED_TERMS = 200_000
TermKey = tuple[int, int, str]  # site number, sort, text
# For each sort the id of each cached text, as COPY writes it. The empty text is NULL.
TermsBySort = tuple[dict[str, str], ...]

_terms_by_site: dict[int, TermsBySort] = {}
_cached_count = 0


def get_cached_terms(site_number: int) -> TermsBySort:
    """The terms of a site that this process has cached."""
    terms = _terms_by_site.get(site_number)
    if terms is None:
        terms = tuple({"": "\\N"} for _ in range(len(Term.Sort) + 1))
        _terms_by_site[site_number] = terms
    return terms


def get_or_create_term_ids(keys: set[TermKey], *, today: date) -> dict[TermKey, int]:
    """The id of each text, in the writer's transaction.

    One query, and three more when some texts are new.
    """
    if not keys:
        return {}
    term_ids = _find_ids(keys)
    new = keys - term_ids.keys()
    beyond_limit = _find_keys_beyond_limit(new, today) if new else set()
    other_keys = {(site_number, sort, OTHER_TEXT) for site_number, sort, _ in beyond_limit}
    term_ids |= _create((new - beyond_limit) | other_keys, today)
    for site_number, sort, text in beyond_limit:
        term_ids[site_number, sort, text] = term_ids[site_number, sort, OTHER_TEXT]
    cacheable = {key: term_id for key, term_id in term_ids.items() if key not in beyond_limit}
    # Cached after the commit only, because ids of a transaction that is rolled back do not exist.
    transaction.on_commit(lambda: _cache(cacheable))
    return term_ids


def _find_ids(keys: Iterable[TermKey]) -> dict[TermKey, int]:
    """The ids of those texts that are stored. One query."""
    statement = """
        SELECT term.site_number, term.sort, term.text, term.id
        FROM unnest(%s::int[], %s::smallint[], %s::text[]) AS keys(site_number, sort, text)
        JOIN analytics_term term
            ON term.site_number = keys.site_number
            AND term.sort = keys.sort
            AND term.text = keys.text"""
    with connection.cursor() as cursor:
        cursor.execute(statement, [list(column) for column in zip(*list(keys), strict=True)])
        return {(site_number, sort, text): term_id for site_number, sort, text, term_id in cursor.fetchall()}


def _create(keys: set[TermKey], today: date) -> dict[TermKey, int]:
    """Store texts and return their ids. Two queries.

    The texts are sorted, so that two writers cannot deadlock.
    """
    if not keys:
        return {}
    rows = [
        Term(site_number=site_number, sort=sort, text=text, since=today)
        for site_number, sort, text in sorted(keys)
    ]
    Term.objects.bulk_create(rows, ignore_conflicts=True)
    return _find_ids(keys)


def _find_keys_beyond_limit(keys: set[TermKey], today: date) -> set[TermKey]:
    """The keys beyond `MAX_NEW_TERMS_PER_DAY`, so that invented paths cannot fill the disk. One query."""
    keys_by_sort: dict[tuple[int, int], list[TermKey]] = {}
    for key in sorted(keys):
        keys_by_sort.setdefault(key[:2], []).append(key)
    statement = """
        SELECT sorts.site_number, sorts.sort, count(term.id)
        FROM unnest(%s::int[], %s::smallint[]) AS sorts(site_number, sort)
        LEFT JOIN analytics_term term
            ON term.site_number = sorts.site_number
            AND term.sort = sorts.sort
            AND term.since = %s
        GROUP BY sorts.site_number, sorts.sort"""
    with connection.cursor() as cursor:
        cursor.execute(statement, [*(list(column) for column in zip(*keys_by_sort, strict=True)), today])
        new_counts = {(site_number, sort): count for site_number, sort, count in cursor.fetchall()}
    beyond_limit: set[TermKey] = set()
    for site_and_sort, sort_keys in keys_by_sort.items():
        allowed_count = max(0, MAX_NEW_TERMS_PER_DAY - new_counts[site_and_sort])
        beyond_limit.update(sort_keys[allowed_count:])
    return beyond_limit


def _cache(term_ids: dict[TermKey, int]) -> None:
    global _cached_count
    _cached_count += len(term_ids)
    if _cached_count > MAX_CACHED_TERMS:
        clear_cache()
        _cached_count = len(term_ids)
    for (site_number, sort, text), term_id in term_ids.items():
        get_cached_terms(site_number)[sort][text] = str(term_id)


def clear_cache() -> None:
    """Forget all cached terms of this process."""
    _terms_by_site.clear()
