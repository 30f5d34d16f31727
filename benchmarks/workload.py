"""What a workload is, and what both sides are asked before and while they are measured."""

from dataclasses import dataclass, field

EMAIL = "bench@example.com"
PASSWORD = "correct horse battery staple"
SUBDOMAIN = "bakery"
SITES = 20


@dataclass(frozen=True)
class Ask:
    """One request, sent over and over.

    `{site}` in the path is the id of a site, `signed_in` adds the Bearer token.
    """

    path: str
    method: str = "GET"
    headers: dict[str, str] = field(default_factory=dict)
    signed_in: bool = False
    body: dict[str, str] = field(default_factory=dict)  # of a POST; nothing stands for signing in
    contains: str = ""  # what the answer's body must hold, so that the right thing is measured
    answers_with: dict[str, str] = field(default_factory=dict)  # headers the answer must have


@dataclass(frozen=True)
class Workload:
    """Two requests that are compared; `goal` is ours divided by theirs, in requests per second (DESIGN 11)."""

    name: str
    ours: Ask
    theirs: Ask
    goal: float
    connections: int = 32
    script: str = "load.lua"  # what wrk runs, below this folder
    p99_goal_ms: float | None = 50.0
