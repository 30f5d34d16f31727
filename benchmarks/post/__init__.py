"""A new post. Both servers also add an audit entry, in the same transaction."""

from benchmarks.workload import RequestSpec, Workload

REQUEST = RequestSpec(
    "/api/v1/sites/{site}/posts",
    method="POST",
    signed_in=True,
    body={"title": "Bread, 0", "excerpt": "Of the day."},
    contains='"slug"',
)
WORKLOAD = Workload(
    name="post", getyousite=REQUEST, yardstick=REQUEST, goal=1.0, connections=8, script="post/post.lua"
)
