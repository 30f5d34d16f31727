import pytest

from vault.tests.calls import vault_of


@pytest.fixture
def vault(api):
    """The id of an empty vault of `api`."""
    return vault_of(api)
