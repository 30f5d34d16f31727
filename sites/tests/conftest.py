import pytest

from sites.tests.visitor import Visitor


@pytest.fixture
def visitor() -> Visitor:
    return Visitor()
