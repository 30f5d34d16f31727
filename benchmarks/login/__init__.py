"""Signing in with a password.

The hash (64 MiB, three passes, four lanes) is nearly all of the cost on both sides. Each of our processes
admits three sign-ins at a time and refuses the fourth, so there are three connections.
"""

from benchmarks.workload import RequestSpec, Workload

LOGIN_REQUEST = RequestSpec("/api/v1/auth/login", method="POST", contains='"access"')
WORKLOAD = Workload(
    name="login",
    getyousite=LOGIN_REQUEST,
    yardstick=LOGIN_REQUEST,
    goal=0.98,
    connections=3,
    script="login/login.lua",
    p99_goal_ms=None,
)
