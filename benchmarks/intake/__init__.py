"""One page view of a visitor: ours into a stream in Redis with a visit, theirs as a row in PostgreSQL.

The writer of ours is measured apart.
"""

from benchmarks.workload import SUBDOMAIN, Ask, Workload

AGENT = (
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36"
)
WORKLOAD = Workload(
    name="intake",
    ours=Ask(
        "/_/event",
        method="POST",
        headers={"Host": f"{SUBDOMAIN}.localhost", "User-Agent": AGENT},
        body={"n": "pageview", "u": f"http://{SUBDOMAIN}.localhost/", "r": "https://www.google.com/"},
    ),
    theirs=Ask(
        "/event",
        method="POST",
        headers={"User-Agent": AGENT},
        body={"site": "{site}", "path": "/", "referrer": "https://www.google.com/"},
    ),
    goal=1.0,
    script="intake/intake.lua",
    p99_goal_ms=25.0,
)
