"""Verifying stored packs, and comparing the database with what a run stored."""

import pytest

from backups import config
from backups.engine.backup import manifest_name
from backups.engine.errors import Damaged
from backups.engine.plan import BackupPlan
from backups.engine.verification import scrub_ranges, verify_pack_checksums, verify_packs


def test_verify_packs_names_the_damaged_pack(chain, store):
    manifest = chain.take()
    verified = verify_packs(chain.repository(), manifest)
    assert (verified.faults, verified.read_count) == ([], len(manifest.packs))
    name = sorted(manifest.packs)[0]
    path = store.folder / name
    path.write_bytes(path.read_bytes()[:-1])

    faults = verify_packs(chain.repository(), manifest).faults

    assert [name in fault for fault in faults] == [True]


def test_verify_pack_checksums_refuses_an_empty_list(chain, store):
    manifest = chain.take()
    name = manifest_name(manifest.taken_at, manifest.run_id)
    assert verify_pack_checksums(store, name).read_count == len(manifest.packs)
    (store.folder / f"{name}.refs").write_bytes(b"")

    with pytest.raises(Damaged, match="is empty"):
        verify_pack_checksums(store, name)


def test_scrub_ranges_reports_ranges_whose_content_differs(chain):
    manifest = chain.take()
    plan = BackupPlan(chain.source, config.programs(), chain.store, chain.keys, chain.id_key, "scrub")
    result = scrub_ranges(plan, manifest)
    assert (result.ranges >= 4, result.drifted) == (True, [])
    page = next(table for table in manifest.tables if table.name == ("public", "page"))
    chunk = page.ranges[0].parts[0].rows
    page.ranges[0].parts[0].rows = type(chunk)("0" * 64, chunk.size, chunk.pieces)

    assert scrub_ranges(plan, manifest).drifted == ["public.page, blocks from 0"]
