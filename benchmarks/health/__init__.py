"""The cheapest answer of the API host: no store is asked on our side; theirs counts it against its limit in
Redis.
"""

from benchmarks.workload import Ask, Workload

WORKLOAD = Workload(
    name="health",
    ours=Ask("/health", contains='"ok"'),
    theirs=Ask("/health", contains='"ok"'),
    goal=1.0,
)
