"""Factories of accounts."""

import factory
from factory.django import DjangoModelFactory

from accounts.models import Role, User


class UserFactory(DjangoModelFactory):
    class Meta:
        model = User
        skip_postgeneration_save = True

    email = factory.Sequence(lambda number: f"person{number}@example.com")
    name = "Pat Person"
    password = "!"  # cannot sign in; tests that do set a hash

    @factory.post_generation
    def role(self, create, extracted, **kwargs):
        self.roles.add(Role.objects.get(name=extracted or "user"))
