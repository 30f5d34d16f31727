"""The list of a site's posts, without their blocks."""

from benchmarks.workload import RequestSpec, Workload

REQUEST = RequestSpec("/api/v1/sites/{site}/posts", signed_in=True, contains='"results"')
WORKLOAD = Workload(name="posts", getyousite=REQUEST, yardstick=REQUEST, goal=1.0)
