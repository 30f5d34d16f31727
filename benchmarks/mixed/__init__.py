"""Of a hundred requests ninety are pages, eight are events and two read a site.

The yardstick has no pages: its cheapest route, which a page is compared with, takes their place.
"""

from benchmarks.intake import WORKLOAD as INTAKE
from benchmarks.workload import RequestSpec, Workload

WORKLOAD = Workload(
    name="mixed",
    getyousite=RequestSpec("/api/v1/sites/{site}", signed_in=True, body=INTAKE.getyousite.body),
    yardstick=RequestSpec("/api/v1/sites/{site}", signed_in=True, body=INTAKE.yardstick.body),
    goal=1.0,
    script="mixed/mixed.lua",
)
