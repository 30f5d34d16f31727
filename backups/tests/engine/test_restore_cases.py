"""Small databases, one in each file of `restore_cases`, that a restore must bring back.

`-- expect:` is a condition that holds in the source and in the restored database; `-- warns:` is a name in a
warning of the run.
"""

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest

from backups import config
from backups.engine import comparison
from backups.engine.errors import BackupRefused
from backups.tests.helpers import BackupChain, database_checksums, run_sql
from tests.database import superuser_dsn

FOLDER = Path(__file__).parent / "restore_cases"
FILES = sorted(FOLDER.glob("*.sql"))
SECTIONS = ("as owner", "as superuser", "between the runs", "before the restore, as superuser")


@dataclass
class RestoreCase:
    """The parts of a file: statements in order, each with the section that they are in."""

    path: Path
    expected: str = ""
    warning: str = ""
    statements: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self):
        section = SECTIONS[0]
        for line in self.path.read_text().splitlines():
            if match := re.fullmatch(r"-- (expect|warns|.*): ?(.*)", line):
                label, value = match.groups()
                if label == "expect":
                    self.expected = value
                elif label == "warns":
                    self.warning = value
                elif label in SECTIONS:
                    section = label
            elif not line.startswith("--"):
                self.statements.append((section, line))

    def run(self, dsn, *sections):
        superuser = superuser_dsn(psycopg.conninfo.conninfo_to_dict(dsn)["dbname"])
        for section, statement in self.statements:
            if section in sections:
                run_sql(superuser if "superuser" in section else dsn, statement)


def restore_and_compare(chain, target):
    """Restore the newest run into `target`, and compare content and structure as a drill does."""
    chain.restore_newest(target, compare_content=True)
    manifest = chain.newest_manifest()
    archive = chain.repository().pack_reader(manifest).read_chunk(manifest.schema.archive)
    comparison.compare_structure(manifest, archive, target, programs=config.programs())


def holds(dsn, condition):
    with psycopg.connect(dsn, autocommit=True) as connection:
        return connection.execute(f"SELECT {condition}").fetchone() == (True,)


def checksums_by_table(dsn):
    """Checksums of all tables; those of partitions by hash are added up."""
    sums = {}
    for name, (rows, total) in database_checksums(dsn).items():
        key = re.sub(r"paint_\d", "paint", name)
        previous = sums.get(key, (0, 0))
        sums[key] = (previous[0] + rows, previous[1] + total)
    return sums


def prepare_runs(cases, create_database, store, keys):
    """Make the source of some cases, take a full run, and an increment after their later statements."""
    source = create_database()
    for case in cases:
        case.run(source, "as owner", "as superuser")
    chain = BackupChain(source, store, keys)
    chain.take()
    for case in cases:
        case.run(source, "between the runs")
    assert chain.take().parent, "the second run is an increment"
    assert [case.path.stem for case in cases if not holds(source, case.expected)] == []
    return chain


SPECIAL = {"policy_for_a_role", "check_on_the_clock", "unlogged_rows"}
OF_THEIR_OWN = {"regclass_of_a_view", "dotted_names_one_empty"}  # other cases use the same names
RESTORED = {path.stem for path in FILES} - SPECIAL
GROUPS = (RESTORED - OF_THEIR_OWN, RESTORED & OF_THEIR_OWN)
ALONE = tuple({name} for name in sorted(RESTORED)) if os.environ.get("SOAK") else ()


@pytest.mark.parametrize("names", [*GROUPS, *ALONE], ids=min)
def test_restore_backup_brings_back_every_case(names, create_database, store, keys):
    cases = [RestoreCase(FOLDER / f"{name}.sql") for name in sorted(names)]
    chain = prepare_runs(cases, create_database, store, keys)
    target = create_database()

    restore_and_compare(chain, target)

    assert [case.path.stem for case in cases if not holds(target, case.expected)] == []
    assert checksums_by_table(target) == checksums_by_table(chain.source.dsn)
    assert chain.newest_manifest().schema.warnings == []


@pytest.fixture
def reporting_role(django_db_setup):
    """The role of a case. It is dropped after the databases that use it: name this fixture first."""
    yield "case_reporting"
    run_sql(superuser_dsn("postgres"), "DROP ROLE IF EXISTS case_reporting")


def test_restore_backup_needs_the_roles_of_policies(reporting_role, create_database, store, keys):
    case = RestoreCase(FOLDER / "policy_for_a_role.sql")
    chain = prepare_runs([case], create_database, store, keys)
    assert reporting_role in "".join(chain.newest_manifest().schema.warnings)
    case.run(chain.source.dsn, "before the restore, as superuser")
    target = create_database()

    with pytest.raises(BackupRefused, match=f'CREATE ROLE "{reporting_role}"'):
        restore_and_compare(chain, target)

    run_sql(superuser_dsn("postgres"), f"CREATE ROLE {reporting_role}")
    restore_and_compare(chain, target)
    assert holds(target, case.expected)


def test_take_backup_warns_of_a_check_that_depends_on_the_time(create_database, store, keys):
    case = RestoreCase(FOLDER / "check_on_the_clock.sql")
    chain = prepare_runs([case], create_database, store, keys)

    assert case.warning in "".join(chain.newest_manifest().schema.warnings)
    with pytest.raises(BackupRefused, match=r"rejects the rows of public\.offer"):
        restore_and_compare(chain, create_database())


def test_take_backup_warns_of_unlogged_tables_with_rows(create_database, store, keys):
    case = RestoreCase(FOLDER / "unlogged_rows.sql")
    chain = prepare_runs([case], create_database, store, keys)
    target = create_database()

    restore_and_compare(chain, target)

    assert case.warning in "".join(chain.newest_manifest().schema.warnings)
    assert holds(target, "(SELECT count(*) FROM basket) = 0")
