"""Which runs are kept, and which objects pruning may delete."""

from datetime import UTC, datetime, timedelta

import pytest

from backups.engine.errors import Damaged
from backups.engine.retention import (
    generate_run_id,
    parse_run_time,
    plan_pruning,
    select_retained_runs,
)
from backups.engine.verification import verify_pack_checksums
from backups.tests.helpers import database_checksums, run_sql

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


def test_generate_run_id_sorts_by_time_and_contains_it():
    run_ids = [generate_run_id(NOW + timedelta(seconds=count)) for count in range(50)]

    assert run_ids == sorted(run_ids)
    assert len({generate_run_id(NOW) for _ in range(1000)}) == 1000
    assert parse_run_time(run_ids[7]) == NOW + timedelta(seconds=7)


def test_select_retained_runs_keeps_fewer_runs_the_older_they_are():
    run_ids = [generate_run_id(NOW - timedelta(hours=6) * count) for count in range(4 * 400)]

    retained = select_retained_runs(run_ids, proven=[], now=NOW)

    ages_in_days = [(NOW - parse_run_time(run_id)).total_seconds() / 86400 for run_id in retained]
    assert 28 <= len(retained) <= 28 + 14 + 8 + 12
    assert len([age for age in ages_in_days if age < 7]) == 28
    assert max(ages_in_days) > 300
    assert select_retained_runs([], proven=[], now=NOW) == set()


def test_select_retained_runs_each_day_leaves_weekly_and_monthly_runs():
    """Four runs a day for four hundred days, pruned each day: kept runs must be able to grow old."""
    run_ids = set()
    now = NOW
    for day in range(400):
        now = NOW + timedelta(days=day)
        run_ids |= {generate_run_id(now + timedelta(hours=6 * count)) for count in range(4)}
        run_ids &= select_retained_runs(run_ids, proven=[], now=now + timedelta(hours=23))

    ages_in_days = sorted((now - parse_run_time(run_id)).days for run_id in run_ids)
    assert len([age for age in ages_in_days if age > 60]) >= 8, ages_in_days
    assert max(ages_in_days) > 300
    assert len(ages_in_days) <= 28 + 14 + 8 + 12 + 4


def test_select_retained_runs_keeps_the_newest_proven_run_and_all_later_ones():
    run_ids = [generate_run_id(NOW - timedelta(days=count, hours=1)) for count in range(900)]

    retained = select_retained_runs(run_ids, proven=[run_ids[850], run_ids[800]], now=NOW)

    assert set(run_ids[:801]) <= retained
    assert run_ids[850] not in retained


def test_plan_pruning_refuses_when_a_list_of_packs_is_missing(chain, store):
    chain.take(run_id=generate_run_id(NOW))
    (name,) = [key for key in store.keys("runs/") if key.endswith(".refs")]
    store.delete(name)

    with pytest.raises(Damaged, match="refs is missing"):
        plan_pruning(store, proven=[], now=NOW + timedelta(days=900))
    with pytest.raises(Damaged, match="incomplete"):
        verify_pack_checksums(store, name.removesuffix(".refs"))


def test_plan_pruning_keeps_the_packs_that_kept_runs_need(chain, source_dsn, create_database, store):
    for number, age_in_days in enumerate([40, 39, 38, 20, 3, 2, 0]):
        run_sql(source_dsn, f"UPDATE page SET words = 'n{number}' WHERE id = {number}")
        newest = chain.take(run_id=generate_run_id(NOW - timedelta(days=age_in_days)))
    before = set(store.keys(""))

    plan = plan_pruning(store, proven=[], now=NOW)

    assert plan.manifests
    assert not set(plan.objects) & set(newest.packs), "the newest run builds on the oldest"
    for name in plan.objects:
        store.delete(name)
    assert set(store.keys("")) == before - set(plan.objects)
    assert chain.restored_checksums(create_database()) == database_checksums(source_dsn)
    assert plan_pruning(store, proven=[], now=NOW).objects == []


def test_plan_pruning_deletes_packs_of_an_unpublished_run_after_two_days(chain, store):
    chain.take(run_id=generate_run_id(NOW))
    unpublished = generate_run_id(NOW - timedelta(hours=47))
    store.create(f"packs/{unpublished}/000001", b"x")
    store.create(f"keys/{unpublished}.json", b"x")

    assert plan_pruning(store, proven=[], now=NOW).objects == []
    later = plan_pruning(store, proven=[], now=NOW + timedelta(hours=2)).objects
    assert later == [f"packs/{unpublished}/000001", f"keys/{unpublished}.json"]
