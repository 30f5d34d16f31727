"""Tombstones of erased people, in the store and after a restore."""

import pytest
from django.utils import timezone

from accounts.models import User
from accounts.services.erasure import close_and_erase
from accounts.tests.factories import UserFactory
from audit.actors import SYSTEM
from audit.models import Entry
from backups.models import Tombstone
from backups.services.erasure_tombstones import copy_tombstones_to_store, erase_restored_people

pytestmark = pytest.mark.django_db


def test_copy_tombstones_to_store_writes_the_id_of_an_erased_person_once(backup_folder):
    user = UserFactory()
    close_and_erase(user.email, actor=SYSTEM, now=timezone.now())

    assert copy_tombstones_to_store(now=timezone.now()) == 1
    assert copy_tombstones_to_store(now=timezone.now()) == 0

    assert [path.name for path in (backup_folder / "tombstones").iterdir()] == [str(user.pk)]
    assert user.email.encode() not in (backup_folder / "tombstones" / str(user.pk)).read_bytes()


def test_erase_restored_people_erases_a_person_whom_a_restore_brought_back(backup_folder):
    user = UserFactory()
    columns = User.objects.filter(pk=user.pk).values().get()
    close_and_erase(user.email, actor=SYSTEM, now=timezone.now())
    copy_tombstones_to_store(now=timezone.now())
    Tombstone.objects.all().delete()
    User.objects.create(**columns)  # as a restore would

    assert erase_restored_people(now=timezone.now()) == 1
    assert erase_restored_people(now=timezone.now()) == 0

    assert not User.objects.get_queryset().filter(pk=user.pk).exists()
    assert Entry.objects.filter(event="user.purged", owner_id=user.pk).count() == 2
