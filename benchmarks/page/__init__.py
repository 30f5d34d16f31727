"""The front page of a published site, compressed, from memory.

The yardstick has no pages, so its cheapest route is used instead.
"""

from benchmarks.workload import SUBDOMAIN, RequestSpec, Workload

WORKLOAD = Workload(
    name="page",
    getyousite=RequestSpec(
        "/",
        headers={"Host": f"{SUBDOMAIN}.localhost", "Accept-Encoding": "br"},
        contains="<!doctype html>",
        answers_with={"Content-Encoding": "br"},
    ),
    yardstick=RequestSpec("/health", contains='"ok"'),
    goal=2.5,
)
