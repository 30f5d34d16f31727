"""Sorts test files, and prints the slowest files at the end of a run."""

from collections import Counter
from typing import Any

import pytest

REPORTED_FILES = 10


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run files that start processes first, so that a long file does not run alone at the end.

    The order within a file does not change. xdist keeps this order with `--no-loadscope-reorder`.
    """
    process_files = {
        item.path for item in items if item.get_closest_marker("stack") or item.get_closest_marker("browser")
    }
    items.sort(key=lambda item: item.path not in process_files)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print the files that took longest, set-up and tear-down included."""
    seconds: Counter[str] = Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport):
                seconds[report.nodeid.partition("::")[0]] += report.duration
    if len(seconds) > 1:
        terminalreporter.section("slowest files")
        for path, duration in seconds.most_common(REPORTED_FILES):
            terminalreporter.write_line(f"{duration:7.1f} s  {path}")
