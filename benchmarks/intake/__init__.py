"""One page view of a visitor.

Getyousite adds an event and its visit to a Redis stream; the yardstick inserts a row into PostgreSQL.
`python -m benchmarks.events` measures the writer that stores the events of the stream.
"""

from benchmarks.workload import SUBDOMAIN, RequestSpec, Workload

USER_AGENT = (
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36"
)
WORKLOAD = Workload(
    name="intake",
    getyousite=RequestSpec(
        "/_/event",
        method="POST",
        headers={"Host": f"{SUBDOMAIN}.localhost", "User-Agent": USER_AGENT},
        body={"n": "pageview", "u": f"http://{SUBDOMAIN}.localhost/", "r": "https://www.google.com/"},
    ),
    yardstick=RequestSpec(
        "/event",
        method="POST",
        headers={"User-Agent": USER_AGENT},
        body={"site": "{site}", "path": "/", "referrer": "https://www.google.com/"},
    ),
    goal=1.4,
    script="intake/intake.lua",
    p99_goal_ms=25.0,
)
