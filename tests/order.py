"""The order of test files in a run, and the report of the slowest ones at its end."""

from collections import Counter
from typing import Any

import pytest

SLOWEST_FILES = 10


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with started processes run first, so that no worker is left alone with a long one at the end.

    Within a file the order stays. xdist keeps this order with `--no-loadscope-reorder`.
    """
    with_processes = {
        item.path for item in items if item.get_closest_marker("stack") or item.get_closest_marker("browser")
    }
    items.sort(key=lambda item: item.path not in with_processes)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print the ten files that took longest, set-up and tear-down included."""
    seconds: Counter[str] = Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport):
                seconds[report.nodeid.partition("::")[0]] += report.duration
    if len(seconds) > 1:
        terminalreporter.section("slowest files")
        for path, duration in seconds.most_common(SLOWEST_FILES):
            terminalreporter.write_line(f"{duration:7.1f} s  {path}")
