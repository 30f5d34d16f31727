"""The front page of a published site, compressed, from memory.

There is no such page there: their cheapest route stands in.
"""

from benchmarks.workload import SUBDOMAIN, Ask, Workload

WORKLOAD = Workload(
    name="page",
    ours=Ask(
        "/",
        headers={"Host": f"{SUBDOMAIN}.localhost", "Accept-Encoding": "br"},
        contains="<!doctype html>",
        answers_with={"Content-Encoding": "br"},
    ),
    theirs=Ask("/health", contains='"ok"'),
    goal=2.0,
)
