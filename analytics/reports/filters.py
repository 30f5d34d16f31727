"""Filters of reports: the text form `dimension:operator:value|value`, and the SQL conditions made of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from analytics.models import Definition, Kind, Share, Term
from analytics.reports.dimensions import DIMENSIONS
from analytics.reports.sql_fragments import INTERACTION_KINDS, SqlCondition

OPERATORS = {"is", "is_not", "contains", "contains_not"}
NEGATIVE_OPERATORS = {"is_not", "contains_not"}
PROPERTY_PREFIX = "property:"
MAX_FILTERS = 10
MAX_VALUES = 50
MAX_FILTER_CHARACTERS = 2000
# Dimensions in which the events of a visit differ; all other dimensions are equal for a whole visit.
EVENT_DIMENSIONS = {"page", "event", "property"}
FILTER_SYNTAX = "A filter is `dimension:operator:value`, for a property `property:name:operator:value`."


@dataclass(frozen=True, slots=True)
class Filter:
    """Events whose `dimension` equals (or contains, or does not equal or contain) one of `values`.

    `property_name` is the name of the property when the dimension is `property`, else empty.
    """

    dimension: str
    operator: str
    values: tuple[str, ...]
    property_name: str = ""

    def __str__(self) -> str:
        name = f"{PROPERTY_PREFIX}{self.property_name}" if self.property_name else self.dimension
        return f"{name}:{self.operator}:{'|'.join(self.values)}"


def parse_filter(text: str) -> Filter:
    """Parse the text form of a filter. Raises ValueError, whose message explains the form."""
    property_name = ""
    rest = text
    if text.startswith(PROPERTY_PREFIX):
        property_name, _, rest = text.removeprefix(PROPERTY_PREFIX).partition(":")
        rest = f"{PROPERTY_PREFIX}{rest}"
    dimension, _, rest = rest.partition(":")
    operator, _, joined_values = rest.partition(":")
    values = tuple(joined_values.split("|"))
    dimension_exists = dimension in DIMENSIONS or (dimension == "property" and property_name)
    if len(text) > MAX_FILTER_CHARACTERS or "\x00" in text or not dimension_exists:
        raise ValueError(FILTER_SYNTAX)
    if operator not in OPERATORS or len(values) > MAX_VALUES or not all(values):
        raise ValueError(FILTER_SYNTAX)
    return Filter(dimension, operator, values, property_name)


def parse_conditions(row: Definition | Share) -> tuple[Filter, ...]:
    """The saved conditions of a goal, segment, funnel or share as filters."""
    return tuple(parse_filter(text) for text in row.conditions)


def event_condition(site_number: int, filters: Sequence[Filter], *, prefix: str = "f") -> SqlCondition:
    """One condition over `visited_events` that holds where all filters hold.

    `prefix` keeps the parameter names of several conditions apart. Texts are replaced by term ids first, so
    that no event is compared by text: one query for each filter that is not about a property.
    """
    clauses: list[str] = ["true"]
    parameters: dict[str, Any] = {}
    for number, item in enumerate(filters):
        key = f"{prefix}{number}"
        if item.dimension == "property":
            contains = item.operator.startswith("contains")
            parameters[f"{key}_property"] = item.property_name
            parameters[key] = _like_patterns(item.values) if contains else list(item.values)
            clause = f"(props ->> %({key}_property)s) {'ILIKE' if contains else '='} ANY(%({key})s)"
        else:
            parameters[key] = _matching_term_ids(site_number, item)
            clause = f"{DIMENSIONS[item.dimension].column} = ANY(%({key})s)"
        is_negative = item.operator in NEGATIVE_OPERATORS
        clauses.append(f"coalesce(NOT ({clause}), true)" if is_negative else f"({clause})")
    return SqlCondition(" AND ".join(clauses), parameters)


def visit_condition(site_number: int, filters: Sequence[Filter]) -> SqlCondition:
    """All events of the visits that match the filters, including their events on other pages.

    A visit matches when one of its events meets all positive filters, and each of its events meets the
    negative filters over `EVENT_DIMENSIONS`.
    """
    exclusions = [
        item for item in filters if item.dimension in EVENT_DIMENSIONS and item.operator in NEGATIVE_OPERATORS
    ]
    inclusions = [item for item in filters if item not in exclusions]
    included = event_condition(site_number, inclusions)
    clauses = [included.sql]
    parameters = included.parameters
    if any(item.dimension in EVENT_DIMENSIONS for item in inclusions):
        clauses = [f"session IN (SELECT session FROM visited_events WHERE {included.sql})"]
    for number, item in enumerate(exclusions):
        allowed = event_condition(site_number, [item], prefix=f"n{number}_")
        clauses.append(
            f"""{allowed.sql}
            AND (
                session IS NULL
                OR session NOT IN (
                    SELECT session
                    FROM visited_events
                    WHERE session IS NOT NULL AND NOT ({allowed.sql})
                )
            )"""
        )
        parameters |= allowed.parameters
    return SqlCondition(" AND ".join(clauses), parameters)


def conversion_condition(site_number: int, filters: Sequence[Filter], *, prefix: str = "g") -> SqlCondition:
    """The events that reach a goal, or a step of a funnel.

    They are page views, or, when a filter is about an event or a property, the other events of interaction.
    """
    is_about_interactions = any(item.dimension in {"event", "property"} for item in filters)
    kinds = f"kind IN ({INTERACTION_KINDS})" if is_about_interactions else f"kind = {Kind.PAGEVIEW}"
    condition = event_condition(site_number, filters, prefix=prefix)
    return SqlCondition(f"{kinds} AND {condition.sql}", condition.parameters)


def _like_patterns(values: tuple[str, ...]) -> list[str]:
    escaped = [value.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") for value in values]
    return [f"%{value}%" for value in escaped]


def _matching_term_ids(site_number: int, item: Filter) -> list[int]:
    rows = Term.objects.filter(site_number=site_number, sort=DIMENSIONS[item.dimension].sort)
    if item.operator.startswith("contains"):
        rows = rows.extra(where=["text ILIKE ANY(%s)"], params=[_like_patterns(item.values)])
    else:
        rows = rows.filter(text__in=item.values)
    return list(rows.values_list("pk", flat=True))
