from concurrent.futures import ThreadPoolExecutor

from core.ids import uuid7


def test_uuid7_has_version_and_variant_of_rfc_9562():
    value = uuid7()

    assert (value.version, value.variant) == (7, "specified in RFC 4122")


def test_uuid7_is_ordered_and_unique_across_threads():
    with ThreadPoolExecutor(8) as pool:
        batches = list(pool.map(lambda _: [uuid7() for _ in range(2_000)], range(8)))

    assert all(batch == sorted(batch) for batch in batches)
    assert len({value for batch in batches for value in batch}) == 16_000
