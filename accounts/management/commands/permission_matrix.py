"""Print who may do what, as docs/permissions.md has it: read from the views, so it cannot be out of date."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.core.management.base import BaseCommand
from django.urls import URLPattern, URLResolver, get_resolver
from rest_framework.permissions import AllowAny

from accounts.services.roles import BUILT_IN_ROLES
from core.permissions import all_permissions

API_PREFIX = "api/v1/"
URL_PARAMETER_PATTERN = re.compile(r"<\w+:(\w+)>")
INTRODUCTION = """# Who may do what

Made by `manage.py permission_matrix`; a test holds it to the views, and calls every operation as every role.

A tick means: not refused for want of rights. Whose sites, keys or sessions they are is another question, and the answer for what is
somebody else's is 404. `user` stands for everybody who signed up; buyer, seller, agent, tenant and manager have no rights of their own
beside it yet. A role of this installation's own may hold any of the permissions below. Where `STAFF_MFA=required`, what needs a
permission also needs a second factor.

The role on the site is the least that somebody must be there: owner, editor, author, viewer, each of which may do what the next may. Whoever has
none gets 404, whoever has less gets 403 `site_role_too_low`. Some rules look closer: authors change only posts of their own that were
never published, anybody may leave a site, and whoever asked for a review may take it back.
"""


@dataclass(frozen=True, slots=True)
class Operation:
    """`permissions` that the caller's roles must hold; `scope` that an API key must have, empty where keys
    are refused.

    `site_role` is the least that the caller must be on the site that the address names.
    """

    method: str
    path: str
    anonymous: bool
    permissions: frozenset[str]
    scope: str
    site_role: str

    def allows(self, role: str) -> bool:
        held = BUILT_IN_ROLES[role]
        return self.permissions <= set(all_permissions() if held is None else held)


def list_operations() -> Iterator[Operation]:
    """Every operation of the API, in the order of its routes."""
    for route, callback in _iterate_routes(get_resolver().url_patterns, ""):
        if not route.startswith(API_PREFIX):
            continue
        view = callback.cls
        for method, action in [*callback.actions.items()]:
            if method in {
                "head",
                "options",
            }:  # DRF adds the one with the first request; the other is for browsers
                continue
            scope = view.scopes.get(action)
            yield Operation(
                method.upper(),
                "/"
                + URL_PARAMETER_PATTERN.sub(
                    lambda found: "{id}" if found[1] == "pk" else f"{{{found[1]}}}", route
                ),
                AllowAny in view.permission_classes,
                frozenset(_required_permissions(view, action)),
                scope.code if scope else "",
                getattr(view, "needs", {}).get(action, ""),
            )


def _iterate_routes(patterns: list[Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for pattern in patterns:
        route = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from _iterate_routes(pattern.url_patterns, route)
        elif isinstance(pattern, URLPattern) and hasattr(pattern.callback, "cls"):
            yield route, pattern.callback


def _required_permissions(view: Any, action: str) -> Iterator[str]:
    for permission_class in view.permission_classes:
        yield from (permission.code for permission in getattr(permission_class, "all_of", ()))
        if hasattr(permission_class, "by_action"):
            yield permission_class.by_action[action].code


def render_matrix() -> str:
    """The matrix as Markdown."""
    roles = list(BUILT_IN_ROLES)
    lines = [
        INTRODUCTION,
        f"| operation | permission | role on the site | key scope | nobody | {' | '.join(roles)} |",
        f"|---|---|---|---|{'---|' * (len(roles) + 1)}",
    ]
    for item in list_operations():
        ticks = ["✓" if item.anonymous else ""] + ["✓" if item.allows(role) else "" for role in roles]
        scope = "" if item.anonymous else item.scope or "refused"
        needed = ", ".join(sorted(item.permissions))
        lines.append(
            f"| `{item.method} {item.path.removeprefix('/api/v1')}` | {needed} | {item.site_role} | {scope} | {' | '.join(ticks)} |"
        )
    lines += ["", "| permission | meaning |", "|---|---|"]
    lines += [f"| `{permission.code}` | {permission.meaning} |" for permission in all_permissions().values()]
    return "\n".join(lines) + "\n"


class Command(BaseCommand):
    help = "Print the matrix of roles and operations as Markdown: `manage.py permission_matrix > docs/permissions.md`."

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write(render_matrix(), ending="")
