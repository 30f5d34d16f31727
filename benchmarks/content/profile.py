"""Where the time of one site goes: stages of a save, of a publish and of a cold page."""

import importlib
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from django.db import connection

from benchmarks.content.meter import Process, milliseconds
from benchmarks.content.operations import page, publish, save
from benchmarks.content.seed import Place

RUNS = 15
# What is timed, with everything that it calls.
STAGES = {
    "parse the body": ("core.http.json_parser", "loads"),
    "validate": ("sites.blueprint.schema", "validate_blueprint"),
    "JSON from PostgreSQL to Python": ("django.db.models", "JSONField.from_db_value"),
    "render the answer": ("rest_framework.renderers", "JSONRenderer.render"),
    "validate and render the page": ("sites.serving.rendering", "render_page"),
    "compress the page": ("sites.serving.page_cache", "make_page"),
    "SQL: COMMIT": ("psycopg", "Connection.commit"),
    "JSON to bytes (in SQL)": ("psycopg.types.json", "JsonbDumper.dump"),
}
Times = dict[str, float]


def profile(process: Process, place: Place) -> dict[str, dict[str, float]]:
    """Median milliseconds of each stage of each act, the longest first."""
    acts: dict[str, Callable[[int], None]] = {
        "save": lambda number: save(process, place),
        "publish": lambda number: publish(process, place),
        "page, cold": lambda number: cold(process, place, 2 + number),
    }
    return {name: _stages(process, act) for name, act in acts.items()}


def cold(process: Process, place: Place, number: int) -> None:
    """A page of a host that the process does not know."""
    process.forget()
    page(process, place, number)


def _stages(process: Process, act: Callable[[int], None]) -> dict[str, float]:
    runs: list[Times] = []
    for number in range(RUNS + 1):
        with staged() as times:
            act(number)
        runs.append({**times, "SQL in all": process.cost.sql, "whole": process.cost.whole})
    names = {name for run in runs[1:] for name in run}
    found = {name: milliseconds(statistics.median(run.get(name, 0.0) for run in runs[1:])) for name in names}
    return dict(sorted(found.items(), key=lambda item: -item[1]))


@contextmanager
def staged() -> Iterator[Times]:
    """Seconds of each stage, and of each kind of statement, in the block."""
    times: Times = defaultdict(float)

    def statement(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        started = time.perf_counter()
        try:
            return execute(sql, params, many, context)
        finally:
            times[f"SQL: {_kind(sql)}"] += time.perf_counter() - started

    with ExitStack() as stack:
        stack.enter_context(connection.execute_wrapper(statement))
        for name, (module, path) in STAGES.items():
            stack.enter_context(_timed(times, name, importlib.import_module(module), path))
        yield times


@contextmanager
def _timed(times: Times, name: str, owner: Any, path: str) -> Iterator[None]:
    *parents, last = path.split(".")
    for parent in parents:
        owner = getattr(owner, parent)
    genuine = getattr(owner, last)
    own = last in vars(owner)

    def timed(*given: Any, **named: Any) -> Any:
        started = time.perf_counter()
        try:
            return genuine(*given, **named)
        finally:
            times[name] += time.perf_counter() - started

    setattr(owner, last, timed)
    try:
        yield
    finally:
        if own:
            setattr(owner, last, genuine)
        else:
            delattr(owner, last)


def _kind(sql: str) -> str:
    """The verb and the first of our tables in a statement."""
    words = sql.replace('"', " ").replace("(", " ").split()
    table = next((word for word in words if word.startswith(("sites_", "accounts_", "audit_", "core_"))), "")
    return f"{words[0]} {table}".strip()
