"""The steps that create indexes, constraints and everything else after the rows of a restore."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from backups.engine.schema.archive import POST_DATA, PRE_DATA, Entry

ROW_SECURITY_STEP = "row-level security"
ROW_SECURITY_KINDS = {"POLICY", "ROW SECURITY"}
LARGE_TABLE_ROWS = 50_000  # an index or a foreign key of a larger table is a step of its own


@dataclass(frozen=True, slots=True)
class SchemaStep:
    """Entries that are created in one transaction. The name is the same when a restore is resumed."""

    name: str
    entries: list[Entry]


def plan_post_data(entries: list[Entry], rows_by_oid: Mapping[int, int]) -> list[list[SchemaStep]]:
    """Return groups of steps. The steps of a group may run in parallel, the groups run one after the other.

    Indexes and foreign keys come first, because they take long, and row-level security is the last group,
    because it hides rows. Everything else keeps the order of `pg_dump`. An entry that depends on a later
    group is created with that group.
    """
    rows_by_id = {entry.id: rows_by_oid.get(entry.table_oid, 0) for entry in entries if entry.table_oid}
    selected_ids = {entry.id for entry in entries}
    created = {entry.id for entry in entries if entry.section == PRE_DATA}
    remaining = [entry for entry in entries if entry.section == POST_DATA]
    groups = []
    for kinds in ({"INDEX", "CONSTRAINT"}, {"INDEX ATTACH"}, {"FK CONSTRAINT"}):
        ready = [
            entry for entry in remaining if entry.kind in kinds and entry.depends_on & selected_ids <= created
        ]
        groups.append(_split_by_table(f"{min(kinds)}", ready, rows_by_id))
        created |= {entry.id for entry in ready}
        remaining = [entry for entry in remaining if entry.id not in created]
    hiding_ids = {entry.id for entry in remaining if entry.kind in ROW_SECURITY_KINDS}
    for entry in remaining:  # such as the comment of a policy; pg_dump writes it after the policy
        if entry.depends_on & hiding_ids:
            hiding_ids.add(entry.id)
    others = [entry for entry in remaining if entry.id not in hiding_ids]
    hiding = [entry for entry in remaining if entry.id in hiding_ids]
    return [*groups, [SchemaStep("everything else", others)], [SchemaStep(ROW_SECURITY_STEP, hiding)]]


def _split_by_table(name: str, entries: list[Entry], rows_by_id: Mapping[int, int]) -> list[SchemaStep]:
    """Return a step for each entry of a large table, then one step for all other entries."""
    by_step: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        largest = max((rows_by_id.get(number, 0) for number in entry.depends_on), default=0)
        by_step[f"{name} {entry.id}" if largest > LARGE_TABLE_ROWS else name].append(entry)
    return [SchemaStep(step, by_step[step]) for step in sorted(by_step, key=lambda step: step == name)]
