"""The policy of an API action: who may call it and on which conditions, declared beside its handler.

Nothing has a default, so an action is never more open than its declaration says. `ApiViewSet` enforces the
policy, the OpenAPI document shows it, and docs/permissions.md and the matrix tests are generated from it. An
action without a policy stops the start of the process.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from django.core.exceptions import ImproperlyConfigured

from core.permissions import Permission

ANONYMOUS = "anonymous"
SIGNED_IN = "signed in"
IF_MATCH_OPTIONAL: Literal["optional"] = "optional"

Body = Literal["object", "list", "none"]
Cache = Literal["", "site", "sites", "user"]
Handler = TypeVar("Handler", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class ActionPolicy:
    """Who may call an action, and on which conditions. `action_policy` describes the fields."""

    scope: Permission | None
    role: str | Permission
    recent_proof: bool
    if_match: bool | Literal["optional"]
    impersonation: bool
    body: Body
    cache: Cache

    @property
    def is_anonymous(self) -> bool:
        """Whether the action is open to callers without a credential."""
        return self.role == ANONYMOUS

    @property
    def permission(self) -> Permission | None:
        """The platform permission that a role of the caller must hold."""
        return self.role if isinstance(self.role, Permission) else None

    @property
    def site_role(self) -> str:
        """The least role on the site of the route; empty when the action does not belong to a site."""
        return "" if isinstance(self.role, Permission) or self.role in {ANONYMOUS, SIGNED_IN} else self.role


def action_policy(
    *,
    scope: Permission | None,
    role: str | Permission,
    recent_proof: bool,
    if_match: bool | Literal["optional"],
    impersonation: bool,
    body: Body = "object",
    cache: Cache = "",
) -> Callable[[Handler], Handler]:
    """Declare the policy of the handler below.

    `scope`: the scope that an API key needs; None refuses API keys. `role`: ANONYMOUS, SIGNED_IN, a platform
    permission that a role of the caller must hold, or the least role that the caller must have on the site of
    the route. `recent_proof`: whether the caller must have proved their identity within the last minutes (API
    keys need not). `if_match`: whether the request must carry If-Match; OPTIONAL when it may.
    `impersonation`: whether staff may do this while they act as the user. `body`: the JSON value that POST,
    PUT and PATCH take. `cache`: until when the response of a GET is cached for a user (`core.admission.
    cached_responses`): until something of the `site` of the route is changed, of the `sites` that the user
    can see, or of the `user`.
    """
    policy = ActionPolicy(scope, role, recent_proof, if_match, impersonation, body, cache)

    def declare(handler: Handler) -> Handler:
        handler.action_policy = policy  # type: ignore[attr-defined]
        return handler

    return declare


def policy_of(view: type, action: str) -> ActionPolicy:
    """Return the policy of `view.action`. Raises ImproperlyConfigured when it has none."""
    policy = getattr(getattr(view, action), "action_policy", None)
    if policy is None:
        raise ImproperlyConfigured(
            f"{view.__module__}.{view.__qualname__}.{action} has no policy: add @action_policy(...) above it."
        )
    assert isinstance(policy, ActionPolicy)
    return policy
