"""One site whose response is not cached.

Getyousite caches no response for API keys, so a request with one takes the way of the first request after a
change. The yardstick has no API keys and makes its usual call of Redis and its usual query.
"""

from benchmarks.workload import RequestSpec, Workload

WORKLOAD = Workload(
    name="cold_site",
    getyousite=RequestSpec("/api/v1/sites/{site}", with_key=True, contains='"subdomain"'),
    yardstick=RequestSpec("/api/v1/sites/{site}", signed_in=True, contains='"subdomain"'),
    goal=1.0,
)
