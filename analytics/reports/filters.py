"""Filters: as people write them, `dimension:operator:value|value`, and as conditions over events."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from analytics.models import Definition, Kind, Share, Term
from analytics.reports.dimensions import DIMENSIONS
from analytics.reports.sql_store import Where

OPERATORS = {"is", "is_not", "contains", "contains_not"}
NEGATIVE = {"is_not", "contains_not"}
PROPERTY = "property:"
MAX_FILTERS = 10
MAX_VALUES = 50
MAX_TEXT = 2000
OF_EVENTS = {"page", "event", "property"}  # the other dimensions are the same for all events of a visit
SHAPE = "A filter is `dimension:operator:value`, for a property `property:name:operator:value`."


@dataclass(frozen=True, slots=True)
class Filter:
    """Events whose `dimension` is (or is not) one of `values`, or contains one.

    `prop` names the property of a dimension `property`.
    """

    dimension: str
    operator: str
    values: tuple[str, ...]
    prop: str = ""

    def __str__(self) -> str:
        name = f"{PROPERTY}{self.prop}" if self.prop else self.dimension
        return f"{name}:{self.operator}:{'|'.join(self.values)}"


def parse_filter(text: str) -> Filter:
    """Raises ValueError."""
    prop = ""
    rest = text
    if text.startswith(PROPERTY):
        prop, _, rest = text.removeprefix(PROPERTY).partition(":")
        rest = f"{PROPERTY}{rest}"
    dimension, _, rest = rest.partition(":")
    operator, _, values = rest.partition(":")
    found = tuple(values.split("|"))
    known = dimension in DIMENSIONS or (dimension == "property" and prop)
    if len(text) > MAX_TEXT or "\x00" in text or not known:
        raise ValueError(SHAPE)
    if operator not in OPERATORS or len(found) > MAX_VALUES or not all(found):
        raise ValueError(SHAPE)
    return Filter(dimension, operator, found, prop)


def conditions_of(row: Definition | Share) -> tuple[Filter, ...]:
    """What was saved, as filters."""
    return tuple(parse_filter(text) for text in row.conditions)


def where(site: int, filters: Sequence[Filter], *, name: str = "f") -> Where:
    """All filters as one condition over `seen`; `name` tells its values from those of others.

    Texts become numbers first, so that no row is compared by text: one query for each filter that is not
    about a property.
    """
    parts: list[str] = ["true"]
    values: dict[str, Any] = {}
    for number, item in enumerate(filters):
        key = f"{name}{number}"
        if item.dimension == "property":
            values[f"{key}_property"] = item.prop
            contains = item.operator.startswith("contains")
            values[key] = _patterns(item.values) if contains else list(item.values)
            found = f"(props ->> %({key}_property)s) {'ILIKE' if contains else '='} ANY(%({key})s)"
        else:
            values[key] = _terms(site, item)
            found = f"{DIMENSIONS[item.dimension].column} = ANY(%({key})s)"
        parts.append(f"coalesce(NOT ({found}), true)" if item.operator in NEGATIVE else f"({found})")
    return Where(" AND ".join(parts), values)


def visits(site: int, filters: Sequence[Filter]) -> Where:
    """The visits that have an event for which all filters hold, and none for which one of the negative does
    not: whoever saw a page is followed to what they did on another.
    """
    never = [item for item in filters if item.dimension in OF_EVENTS and item.operator in NEGATIVE]
    once = [item for item in filters if item not in never]
    found = where(site, once)
    parts = [found.sql]
    values = found.values
    if any(item.dimension in OF_EVENTS for item in once):
        parts = [f"session IN (SELECT session FROM seen WHERE {found.sql})"]
    for number, item in enumerate(never):
        one = where(site, [item], name=f"n{number}_")
        parts.append(
            f"{one.sql} AND (session IS NULL OR session NOT IN (SELECT session FROM seen WHERE session IS NOT NULL AND NOT ({one.sql})))"
        )
        values |= one.values
    return Where(" AND ".join(parts), values)


def reached(site: int, filters: Sequence[Filter], *, name: str = "g") -> Where:
    """The events that reach a goal, or a step of a funnel: page views, or where it is about an event or a
    property, those.
    """
    of_events = any(item.dimension in {"event", "property"} for item in filters)
    kinds = (
        f"kind IN ({Kind.CUSTOM}, {Kind.OUTBOUND}, {Kind.DOWNLOAD})"
        if of_events
        else f"kind = {Kind.PAGEVIEW}"
    )
    found = where(site, filters, name=name)
    return Where(f"{kinds} AND {found.sql}", found.values)


def _patterns(values: tuple[str, ...]) -> list[str]:
    escaped = [value.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") for value in values]
    return [f"%{value}%" for value in escaped]


def _terms(site: int, item: Filter) -> list[int]:
    rows = Term.objects.filter(site_number=site, sort=DIMENSIONS[item.dimension].sort)
    if item.operator.startswith("contains"):
        rows = rows.extra(where=["text ILIKE ANY(%s)"], params=[_patterns(item.values)])
    else:
        rows = rows.filter(text__in=item.values)
    return list(rows.values_list("pk", flat=True))
