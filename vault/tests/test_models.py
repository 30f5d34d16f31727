"""Tests of the constraints and the row-level security of the tables."""

import pytest
from django.db import DatabaseError, IntegrityError, transaction

from core import tenancy
from vault.models import Holder, Item, Vault
from vault.tests.api_helpers import create_item

pytestmark = pytest.mark.django_db


def test_row_level_security_hides_the_vaults_of_other_users(api, other, vault):
    create_item(api, vault)
    with tenancy.context(tenancy.user_context(other.user.pk)):
        assert (Vault.objects.count(), Item.objects.count(), Holder.objects.count()) == (0, 0, 0)
        assert Item.objects.update(version=9) == 0
        with pytest.raises(DatabaseError, match="row-level security"), transaction.atomic():
            Holder.objects.create(owner_id=api.user.pk)
    assert Vault.objects.count() == 0


@pytest.mark.parametrize(
    "fields",
    [
        {"iv": b"x" * 11},
        {"salt": b"short"},
        {"alg": "none"},
        {"ciphertext": b"x" * (1024 * 1024 + 1)},
    ],
    ids=["iv", "salt", "alg", "ciphertext"],
)
def test_envelope_size_constraint_refuses_wrong_sizes(api, vault, fields):
    create_item(api, vault)

    with tenancy.context(tenancy.SYSTEM), pytest.raises(IntegrityError), transaction.atomic():
        Item.objects.update(**fields)
