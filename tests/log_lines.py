"""A fixture with the lines that were logged during a test."""

import io
import json
import logging

import pytest

from core.observability import structured_logging


@pytest.fixture
def log_lines(settings):
    """Return a function that returns what was logged during the test, as parsed JSON lines."""
    structured_logging.configure({"level": "INFO", "format": "json"})
    stream = io.StringIO()
    logging.getLogger().handlers[0].setStream(stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    structured_logging.configure(settings.LOGGING)
