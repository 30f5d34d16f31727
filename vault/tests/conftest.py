import pytest

from vault.tests.api_helpers import create_vault


@pytest.fixture
def vault(api):
    """The id of an empty vault of `api`."""
    return create_vault(api)
