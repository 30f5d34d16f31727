"""What a workload is: one request to Getyousite, one to the yardstick, and the goal of their comparison."""

from dataclasses import dataclass, field
from typing import Any

EMAIL = "bench@example.com"
PASSWORD = "correct horse battery staple"
SUBDOMAIN = "bakery"
SITES_OF_OWNER = 20


@dataclass(frozen=True)
class RequestSpec:
    """One request, which is sent over and over.

    `{site}`, `{vault}` and `{item}` in the path and in the body are ids of the server's data.
    `signed_in` adds the Bearer token of a session, `with_key` that of an API key.
    """

    path: str
    method: str = "GET"
    headers: dict[str, str] = field(default_factory=dict)
    signed_in: bool = False
    with_key: bool = False
    body: dict[str, Any] = field(default_factory=dict)  # of a POST; empty stands for the sign-in credentials
    contains: str = ""  # text that the body of the response must hold
    answers_with: dict[str, str] = field(default_factory=dict)  # headers that the response must have


@dataclass(frozen=True)
class Workload:
    """Two requests that are compared.

    `goal` is the least ratio of Getyousite's requests per second to the yardstick's. `yardstick_server` is
    the server that gets the yardstick's request: `fastify` or `nginx`.
    """

    name: str
    getyousite: RequestSpec
    yardstick: RequestSpec
    goal: float
    yardstick_server: str = "fastify"
    connections: int = 32
    script: str = "load.lua"  # the script of wrk, below this folder
    p99_goal_ms: float | None = 50.0
