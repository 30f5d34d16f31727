"""The front page of a published site without compression, against nginx with the same bytes in a file."""

from benchmarks.workload import SUBDOMAIN, RequestSpec, Workload

WORKLOAD = Workload(
    name="static",
    getyousite=RequestSpec(
        "/",
        headers={"Host": f"{SUBDOMAIN}.localhost", "Accept-Encoding": "identity"},
        contains="<!doctype html>",
    ),
    yardstick=RequestSpec("/", contains="<!doctype html>"),
    yardstick_server="nginx",
    goal=0.75,
)
