"""The cheapest route of the API host.

Getyousite uses no store for it; the yardstick counts it against its rate limit in Redis.
"""

from benchmarks.workload import RequestSpec, Workload

WORKLOAD = Workload(
    name="health",
    getyousite=RequestSpec("/health", contains='"ok"'),
    yardstick=RequestSpec("/health", contains='"ok"'),
    goal=1.5,
)
