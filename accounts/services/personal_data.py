"""The files about a user's account in an archive of their personal data."""

import base64
from collections.abc import Iterator
from functools import partial
from typing import Any
from uuid import UUID

from accounts.models import EmailProof, User
from core import lifecycle
from core.models import Mail


def export_account_data(person: UUID) -> Iterator[lifecycle.ExportedFile]:
    """Yield the files of this app in a data export. Callback for `core.lifecycle.on_export`."""
    user = User.objects.get_queryset().get(pk=person)
    yield "account.json", lambda: _account_values(user)
    for name, (rows, fields) in _exported_fields(user).items():
        yield f"{name}.json", partial(list, rows.order_by("created_at").values(*fields))
    yield "sessions.json", lambda: _exported_sessions(user)
    yield "second_factors.json", lambda: _exported_second_factors(user)


def _exported_second_factors(user: User) -> dict[str, Any]:
    totp = getattr(user, "totp", None)
    return {
        "authenticator_app_since": totp.confirmed_at if totp else None,
        "recovery_codes_left": user.recovery_codes.filter(used_at=None).count(),
    }


def _account_values(user: User) -> dict[str, Any]:
    fields = [
        "id",
        "email",
        "name",
        "age",
        "scheme",
        "is_active",
        "email_verified_at",
        "created_at",
        "updated_at",
        "deleted_at",
    ]
    kdf = None
    if user.kdf:
        kdf = {"iterations": user.kdf.iterations, "salt": base64.b64encode(user.kdf.salt).decode()}
    roles = sorted(role.name for role in user.roles.all())
    return {**{name: getattr(user, name) for name in fields}, "kdf": kdf, "roles": roles}


def _exported_sessions(user: User) -> list[dict[str, Any]]:
    """Return the sessions of a user. The device of staff who acted as the user is left out."""
    fields = ["created_at", "rotated_at", "expires_at", "revoked_at", "agent", "network", "impersonator_id"]
    rows = list(user.sessions.order_by("created_at").values(*fields))
    return [{**row, "agent": "", "network": ""} if row["impersonator_id"] else row for row in rows]


def _exported_fields(user: User) -> dict[str, tuple[Any, list[str]]]:
    """Return rows and field names for each file of rows that belong to a user."""
    return {
        "passkeys": (user.passkeys, ["name", "created_at", "last_used_at"]),
        "providers": (user.identities, ["provider", "issuer", "subject", "created_at", "last_used_at"]),
        "api_keys": (
            user.api_keys,
            [
                "label",
                "prefix",
                "scopes",
                "networks",
                "created_at",
                "expires_at",
                "last_used_at",
                "revoked_at",
            ],
        ),
        "mailed_links": (
            EmailProof.objects.filter(email=user.email),
            ["purpose", "email", "created_at", "expires_at", "used_at"],
        ),
        "mails": (Mail.objects.filter(person=user.pk), ["to", "template", "created_at", "sent_at", "status"]),
        "exports": (user.exports, ["created_at", "expires_at", "size"]),
    }
