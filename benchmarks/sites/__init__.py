"""The twenty sites of the signed-in owner, read again and again."""

from benchmarks.workload import Ask, Workload

WORKLOAD = Workload(
    name="sites",
    ours=Ask("/api/v1/sites", signed_in=True, contains='"results"'),
    theirs=Ask("/api/v1/sites", signed_in=True, contains='"results"'),
    goal=1.0,
)
