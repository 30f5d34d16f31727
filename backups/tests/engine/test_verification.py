"""Verifying stored packs, and comparing the database with what a run stored."""

from backups import config
from backups.engine.backup import BackupPlan
from backups.engine.verification import scrub_ranges, verify_packs


def test_verify_packs_names_the_damaged_pack(chain, store):
    manifest = chain.take()
    assert verify_packs(chain.repository(), manifest) == ([], len(manifest.packs))
    name = sorted(manifest.packs)[0]
    path = store.folder / name
    path.write_bytes(path.read_bytes()[:-1])

    faults, _ = verify_packs(chain.repository(), manifest)

    assert [name in fault for fault in faults] == [True]


def test_scrub_ranges_reports_ranges_whose_content_differs(chain):
    manifest = chain.take()
    plan = BackupPlan(chain.source, config.programs(), chain.store, chain.keys, chain.id_key, "scrub")
    result = scrub_ranges(plan, manifest)
    assert (result.ranges >= 4, result.drifted) == (True, [])
    page = next(table for table in manifest.tables if table.name == ("public", "page"))
    chunk = page.ranges[0].parts[0].rows
    page.ranges[0].parts[0].rows = type(chunk)("0" * 64, chunk.size, chunk.pieces)

    assert scrub_ranges(plan, manifest).drifted == ["public.page, blocks from 0"]
