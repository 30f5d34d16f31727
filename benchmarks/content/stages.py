"""Measures the stages of a save, of a publish and of a cold page."""

import importlib
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from django.db import connection

from benchmarks.content.meter import InProcessServer, milliseconds
from benchmarks.content.operations import open_page, publish_site, save_draft
from benchmarks.content.seed import SeededSite

RUN_COUNT = 15
# Functions whose time is measured, with everything that they call: module and attribute.
STAGES = {
    "parse the body": ("core.http.json_parser", "parse_json"),
    "validate": ("sites.blueprint.schema", "validate_blueprint"),
    "JSON from PostgreSQL to Python": ("django.db.models", "JSONField.from_db_value"),
    "render the answer": ("core.http.responses", "JSONRenderer.render"),
    "validate and render the page": ("sites.serving.rendering", "render_page"),
    "compress the page": ("sites.serving.page_cache", "encode_page"),
    "SQL: COMMIT": ("psycopg", "Connection.commit"),
    "JSON to bytes (in SQL)": ("psycopg.types.json", "JsonbDumper.dump"),
}
StageSeconds = dict[str, float]


def measure_stages(process: InProcessServer, site: SeededSite) -> dict[str, dict[str, float]]:
    """Median milliseconds of each stage of a save, a publish and a cold page, the longest first."""
    functions: dict[str, Callable[[int], None]] = {
        "save": lambda number: save_draft(process, site),
        "publish": lambda number: publish_site(process, site),
        "page, cold": lambda number: open_cold_page(process, site, 2 + number),
    }
    return {name: _median_stages(process, function) for name, function in functions.items()}


def open_cold_page(process: InProcessServer, site: SeededSite, number: int) -> None:
    """Open a page of a host that is not in the map of the process."""
    process.clear_site_server()
    open_page(process, site, number)


def _median_stages(process: InProcessServer, function: Callable[[int], None]) -> dict[str, float]:
    runs: list[StageSeconds] = []
    for number in range(RUN_COUNT + 1):
        with time_stages() as seconds:
            function(number)
        runs.append({**seconds, "SQL in all": process.cost.sql, "whole": process.cost.total})
    names = {name for run in runs[1:] for name in run}
    medians = {
        name: milliseconds(statistics.median(run.get(name, 0.0) for run in runs[1:])) for name in names
    }
    return dict(sorted(medians.items(), key=lambda item: -item[1]))


@contextmanager
def time_stages() -> Iterator[StageSeconds]:
    """Add up the seconds of each stage, and of each kind of SQL statement, in the block."""
    seconds: StageSeconds = defaultdict(float)

    def statement(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        started = time.perf_counter()
        try:
            return execute(sql, params, many, context)
        finally:
            seconds[f"SQL: {_verb_and_table(sql)}"] += time.perf_counter() - started

    with ExitStack() as stack:
        stack.enter_context(connection.execute_wrapper(statement))
        for name, (module, path) in STAGES.items():
            stack.enter_context(_timed_attribute(seconds, name, importlib.import_module(module), path))
        yield seconds


@contextmanager
def _timed_attribute(seconds: StageSeconds, name: str, owner: Any, path: str) -> Iterator[None]:
    *parents, last = path.split(".")
    for parent in parents:
        owner = getattr(owner, parent)
    original = getattr(owner, last)
    is_own_attribute = last in vars(owner)

    def timed(*arguments: Any, **keywords: Any) -> Any:
        started = time.perf_counter()
        try:
            return original(*arguments, **keywords)
        finally:
            seconds[name] += time.perf_counter() - started

    setattr(owner, last, timed)
    try:
        yield
    finally:
        if is_own_attribute:
            setattr(owner, last, original)
        else:
            delattr(owner, last)


def _verb_and_table(sql: str) -> str:
    """The verb of a statement and the first table of the platform in it."""
    words = sql.replace('"', " ").replace("(", " ").split()
    table = next((word for word in words if word.startswith(("sites_", "accounts_", "audit_", "core_"))), "")
    return f"{words[0]} {table}".strip()
