import pytest
from django.utils import timezone

from analytics.ingest import stream, string_dictionary
from analytics.models import Term
from analytics.tests.helpers import (
    build_page_view,
    count_rows,
    drain_all_shards,
)

pytestmark = pytest.mark.django_db


def test_get_or_create_term_ids_limits_the_new_terms_of_a_day(site, monkeypatch):
    monkeypatch.setattr(string_dictionary, "MAX_NEW_TERMS_PER_DAY", 5)
    stream.append_events(
        [build_page_view(site.number, count + 1, visitor=8, page=f"/{count}") for count in range(20)]
    )
    drain_all_shards()
    stream.append_events(
        [build_page_view(site.number, count + 21, visitor=8, page=f"/{count}") for count in range(20)]
    )
    drain_all_shards()

    texts = Term.objects.filter(site_number=site.number, sort=Term.Sort.PAGE).values_list("text", flat=True)
    assert len(texts) == 6
    assert string_dictionary.OTHER_TEXT in texts
    assert count_rows(site)[0] == 40


def test_get_or_create_term_ids_does_not_cache_terms_of_a_failed_transaction(site):
    from django.db import transaction

    with transaction.atomic():
        string_dictionary.get_or_create_term_ids(
            {(site.number, Term.Sort.PAGE, "/gone")}, today=timezone.localdate()
        )
        transaction.set_rollback(True)

    stream.append_events([build_page_view(site.number, 1, visitor=8, page="/gone")])
    assert drain_all_shards() == 1
    assert Term.objects.filter(site_number=site.number, text="/gone").exists()
