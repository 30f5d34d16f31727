"""The list of the twenty sites of the signed-in owner."""

from benchmarks.workload import RequestSpec, Workload

WORKLOAD = Workload(
    name="sites",
    getyousite=RequestSpec("/api/v1/sites", signed_in=True, contains='"results"'),
    yardstick=RequestSpec("/api/v1/sites", signed_in=True, contains='"results"'),
    goal=2.0,
)
