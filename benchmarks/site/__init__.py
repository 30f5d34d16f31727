"""One site of the signed-in owner.

Getyousite makes one Redis call while its cache is warm; the yardstick makes one Redis call and one query.
"""

from benchmarks.workload import RequestSpec, Workload

WORKLOAD = Workload(
    name="site",
    getyousite=RequestSpec("/api/v1/sites/{site}", signed_in=True, contains='"subdomain"'),
    yardstick=RequestSpec("/api/v1/sites/{site}", signed_in=True, contains='"subdomain"'),
    goal=2.0,
)
