"""The platform that the tests of faults share, and the figures that they print."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.platform import Platform, running_platform

FIGURES = pytest.StashKey[list[tuple[str, dict[str, float]]]]()


@pytest.fixture(scope="module")
def platform(certificate: Path) -> Iterator[Platform]:
    with running_platform("faults", certificate) as started:
        yield started


@pytest.fixture
def report(request: pytest.FixtureRequest) -> Callable[[dict[str, float]], None]:
    """Keep the figures of a test, which are printed at the end of the run."""
    figures = request.config.stash.setdefault(FIGURES, [])
    return lambda values: figures.append((request.node.name, values))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for name, values in config.stash.get(FIGURES, []):
        terminalreporter.write_line(f"{name}: {', '.join(f'{key} {value}' for key, value in values.items())}")
