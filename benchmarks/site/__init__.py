"""One site of the signed-in owner, read again and again: ours is one Redis call while warm, theirs one Redis
call and one query.
"""

from benchmarks.workload import Ask, Workload

WORKLOAD = Workload(
    name="site",
    ours=Ask("/api/v1/sites/{site}", signed_in=True, contains='"subdomain"'),
    theirs=Ask("/api/v1/sites/{site}", signed_in=True, contains='"subdomain"'),
    goal=1.0,
)
