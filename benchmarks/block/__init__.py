"""A change of one block of a draft, with the ETag of the change before.

Two connections change one site each, because a change with an old ETag is refused. Both servers lock the
draft, compare the version, write it, keep the previous one as a revision and add an audit entry.
"""

from benchmarks.workload import RequestSpec, Workload

REQUEST = RequestSpec(
    "/api/v1/sites/{site}/blocks/home-hero",
    method="PATCH",
    signed_in=True,
    headers={"If-Match": "*"},
    body={"props": {"title": "Bread, 0"}},
    contains='"title"',
)
WORKLOAD = Workload(
    name="block", getyousite=REQUEST, yardstick=REQUEST, goal=1.0, connections=2, script="block/block.lua"
)
