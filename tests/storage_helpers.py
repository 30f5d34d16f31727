"""Helpers of the tests about stored bytes: sites of a given size, threads, and reads of the usage."""

from concurrent.futures import ThreadPoolExecutor

from django.db import connections

from core import quotas, tenancy
from sites.models import Access
from sites.tests.factories import document, heading_block, page


def used_by(user):
    return quotas.usage_of(user.pk).used


def assert_exact(*users_to_check):
    """Assert that the counted bytes of these users are those of the stored rows."""
    assert [quotas.recount(user.pk, dry_run=True) for user in users_to_check] == [None] * len(users_to_check)


def long_document(characters=3000, title="A site"):
    texts = [heading_block(f"b{number}", "x" * 100) for number in range(characters // 100)]
    return document(page(blocks=texts), settings={"title": title})


def run_in_threads(function, arguments):
    """Call `function` with each of the arguments in one of eight threads. Returns the results."""

    def run(argument):
        try:
            return function(argument)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(run, arguments))


def add_member(site, user, role="editor"):
    with tenancy.context(tenancy.SYSTEM):
        Access.objects.create(site=site, user=user, role=role)
