"""Every operation of the OpenAPI document, and how a test makes it succeed.

`PATH_PARAMETERS` and `PREPARATIONS` create what an operation needs. `tests.world` has the test data.
"""

import uuid
from collections.abc import Callable
from typing import Any

import pyotp
from django.utils import timezone
from drf_spectacular.generators import SchemaGenerator

from accounts.tests.factories import UserFactory
from conftest import PASSWORD, sign_in
from core import tenancy
from sites.models import Release, Revision
from sites.subdomains import address_of
from sites.tests.factories import document
from tests.world import World, vault_envelope

BROWSER_HEADERS = {"X-Requested-With": "fetch", "Origin": "http://localhost:3000"}
NEW_PASSWORD = "another long enough phrase"
# POSTs that change nothing, or that are recorded elsewhere, so they write no audit entry.
UNRECORDED_OPERATIONS = {
    ("post", "/api/v1/sites/{id}/events"),  # thousands a second; each event is a row of analytics
    ("post", "/api/v1/invitations/open"),
    ("post", "/api/v1/auth/prelogin"),
    ("post", "/api/v1/auth/login/oidc/{provider}/options"),
    ("post", "/api/v1/auth/providers/{provider}/options"),
    ("post", "/api/v1/auth/login/passkey/options"),
    ("post", "/api/v1/auth/passkeys/options"),
    ("post", "/api/v1/auth/reauthenticate/passkey/options"),
}
Preparation = Callable[[World], tuple[Any, Any]]  # returns the `id` of the path, and the body


def list_operations() -> list[tuple[str, str, dict[str, Any]]]:
    """Method in lower case, path with its parameters in braces, and the OpenAPI operation object."""
    paths = SchemaGenerator().get_schema(request=None, public=True)["paths"]
    return [
        (method, path, operation) for path, methods in paths.items() for method, operation in methods.items()
    ]


OPERATIONS_WITH_SCHEMAS = list_operations()
OPERATIONS = [(method, path) for method, path, _ in OPERATIONS_WITH_SCHEMAS]
MUTATING_OPERATIONS = [
    (method, path)
    for method, path in OPERATIONS
    if method != "get" and (method, path) not in UNRECORDED_OPERATIONS
]


def prepare_operation(method: str, path: str, world: World) -> tuple[str, Any]:
    """Create what the operation needs before it can succeed; return its address and its body."""
    if "{release}" in path:
        world.api.post(f"sites/{world.site.pk}/publish")
    prepare = PREPARATIONS.get((method, path))
    pk, body = prepare(world) if prepare else (world.site.pk, None)
    parameters = {name: create(world) for name, create in PATH_PARAMETERS.items() if f"{{{name}}}" in path}
    if "{vault_id}" in path and path.endswith("/restore"):
        world.api.delete(path.removesuffix("/restore").format(**parameters), if_match="*")
    if path.endswith("/posts/{post_id}/restore"):
        world.api.delete(f"sites/{world.site.pk}/posts/{parameters['post_id']}", if_match="*")
    return path.format(**parameters, **_site_parameters(world), id=pk), body


def _site_parameters(world: World) -> dict[str, Any]:
    """Path parameters that name something which every site, or every published site, has."""
    with tenancy.context(tenancy.SYSTEM):
        revisions = Revision.objects.filter(site=world.site).values_list("pk", flat=True)
        releases = Release.objects.filter(site=world.site).order_by("pk").values_list("pk", flat=True)
        return {
            "host": f"{world.site.subdomain}.localhost",
            "slug": "a-post",
            "provider": "mock",
            "block": "home-h",
            "revision": revisions.first(),
            "release": releases.first(),
        }


def call_operation(world: World, method: str, path: str, **headers: str) -> Any:
    """Prepare the operation and call it as the account of `world`; it succeeds if the account may do it."""
    address, body = prepare_operation(method, path, world)
    options = {} if method == "get" else {"if_match": "*"}
    return world.api.call(method.upper(), address, body, **options, **BROWSER_HEADERS, **headers)


def in_an_hour() -> str:
    """The time one hour from now, as RFC 3339, for changes that are planned."""
    return str((timezone.now() + timezone.timedelta(hours=1)).isoformat())


def _on_site(body: Any = None, *, published: bool = False, deleted: bool = False) -> Preparation:
    """A preparation that publishes or deletes the site first. `body` may be a function that returns it."""

    def prepare(world: World) -> tuple[Any, Any]:
        if published:
            world.api.post(f"sites/{world.site.pk}/publish")
        if deleted:
            world.api.delete(f"sites/{world.site.pk}", if_match="*")
        return world.site.pk, body() if callable(body) else body

    return prepare


def _login_challenge(world: World) -> str:
    response = world.api.post("auth/login", {"email": world.api.user.email, "password": PASSWORD})
    return str(response.json()["challenge"])


def _verify_mfa(world: World) -> tuple[Any, Any]:
    app = world.add_totp()
    return None, {"challenge": _login_challenge(world), "code": app.now()}


def _passkey_login(world: World) -> tuple[Any, Any]:
    world.add_passkey()
    options = world.api.post("auth/login/passkey/options").json()
    credential = world.authenticator.get(options["public_key"])
    return None, {"challenge": options["challenge"], "credential": credential}


def _create_passkey(world: World) -> tuple[Any, Any]:
    options = world.api.post("auth/passkeys/options").json()
    credential = world.authenticator.create(options["public_key"])
    return None, {"challenge": options["challenge"], "credential": credential, "name": "Phone"}


def _confirm_totp(world: World) -> tuple[Any, Any]:
    return None, {"code": pyotp.TOTP(world.api.post("auth/totp").json()["secret"]).now()}


def _with_two_factors(world: World) -> tuple[Any, Any]:
    """Staff may not remove their last factor, so the account has two."""
    world.add_totp()
    return world.add_passkey()["id"], None


def _another_session(world: World) -> tuple[Any, Any]:
    return sign_in(world.api.user).session.pk, None


def _published_with_post(world: World) -> tuple[Any, Any]:
    world.create_on_site("posts", {"title": "A post", "published_at": "2020-01-01T00:00:00Z"})
    world.api.post(f"sites/{world.site.pk}/publish")
    return None, None


def _subscribed(world: World) -> tuple[Any, Any]:
    world.api.call("PUT", f"/api/v1/sites/{world.site.pk}/analytics/weekly-mail")
    return world.site.pk, None


def _roll_back(world: World) -> tuple[Any, Any]:
    world.api.post(f"sites/{world.site.pk}/publish")  # so that the first release is not the live one
    return world.site.pk, None


def _another_admin(world: World) -> tuple[Any, Any]:
    """The last administrator may not close the account, so there is another one."""
    return UserFactory(role="admin").pk, None


API = "/api/v1"
SITE_PATH = f"{API}/sites/{{id}}"
GOAL = {"name": "Thanks", "conditions": ["page:is:/thanks"]}
FUNNEL = {"name": "To the menu", "conditions": ["page:is:/", "page:is:/menu"]}
ANNOTATION = {"day": "2026-03-01", "text": "A feast"}
PATH_PARAMETERS: dict[str, Callable[[World], Any]] = {
    "schedule": lambda w: w.create_on_site("schedules", {"at": in_an_hour()}),
    "review": lambda w: w.create_on_site("reviews"),
    "preview": lambda w: w.create_on_site("previews", {}),
    "member": lambda w: w.add_member(),
    "invitation": lambda w: w.create_on_site(
        "invitations", {"email": "invited@example.com", "role": "author"}
    ),
    "post_id": lambda w: w.create_on_site("posts", {"title": "A post"}),
    "goal": lambda w: w.create_on_site("analytics/goals", GOAL),
    "segment": lambda w: w.create_on_site("analytics/segments", GOAL),
    "funnel": lambda w: w.create_on_site("analytics/funnels", FUNNEL),
    "annotation": lambda w: w.create_on_site("analytics/annotations", ANNOTATION),
    "share": lambda w: w.create_on_site("analytics/shares", {"name": "For the board"}),
    "token": lambda w: w.export_token(),
    "point": lambda w: w.create_backup(),
    "vault_id": lambda w: w.get_or_create_vault(),
    "item_id": lambda w: w.create_vault_item(),
}
USER_BODY = {"name": "Renamed", "age": 40, "is_active": True}
PREPARATIONS: dict[tuple[str, str], Preparation] = {
    ("post", f"{API}/sites"): lambda w: (None, {"name": "x", "subdomain": f"made-{w.site.pk.hex[-10:]}"}),
    ("patch", f"{API}/sites/{{id}}"): _on_site({"name": "Renamed"}),
    ("put", f"{API}/sites/{{id}}/blueprint"): _on_site(document),
    ("patch", f"{API}/sites/{{id}}/blueprint"): _on_site(
        [{"op": "replace", "path": "/settings/title", "value": "Patched"}]
    ),
    ("patch", f"{API}/sites/{{id}}/blocks/{{block}}"): _on_site({"props": {"text": "Patched"}}),
    ("post", f"{API}/sites/{{id}}/unpublish"): _on_site(published=True),
    ("post", f"{API}/sites/{{id}}/restore"): _on_site(deleted=True),
    ("post", f"{SITE_PATH}/releases/{{release}}/publish"): _roll_back,
    ("post", f"{SITE_PATH}/schedules"): lambda w: (w.site.pk, {"at": in_an_hour()}),
    ("post", f"{SITE_PATH}/reviews/{{review}}/return"): _on_site({"comment": "Almost."}),
    ("post", f"{SITE_PATH}/previews"): _on_site({}),
    ("patch", f"{SITE_PATH}/members/{{member}}"): _on_site({"role": "viewer"}),
    ("post", f"{SITE_PATH}/transfer"): lambda w: (w.site.pk, {"member": str(w.add_member())}),
    ("post", f"{SITE_PATH}/invitations"): _on_site({"email": "invited@example.com", "role": "viewer"}),
    ("post", f"{API}/invitations/open"): lambda w: (None, {"token": w.invitation_token()}),
    ("post", f"{API}/invitations/accept"): lambda w: (None, {"token": w.invitation_token()}),
    ("post", f"{SITE_PATH}/posts"): _on_site({"title": "A post", "published_at": "2020-01-01T00:00:00Z"}),
    ("patch", f"{SITE_PATH}/posts/{{post_id}}"): _on_site({"title": "Renamed", "slug": "renamed"}),
    ("get", f"{API}/public/sites/{{host}}"): _published_with_post,
    ("get", f"{API}/public/sites/{{host}}/pages"): _published_with_post,
    ("get", f"{API}/public/sites/{{host}}/posts"): _published_with_post,
    ("get", f"{API}/public/sites/{{host}}/posts/{{slug}}"): _published_with_post,
    ("patch", f"{API}/auth/me"): lambda w: (None, {"name": "Renamed"}),
    ("delete", f"{API}/auth/me"): _another_admin,
    ("post", f"{API}/auth/register"): lambda w: (
        None,
        {"email": "recorded@example.com", "password": PASSWORD},
    ),
    ("post", f"{API}/auth/prelogin"): lambda w: (None, {"email": w.api.user.email}),
    ("post", f"{API}/auth/login"): lambda w: (None, {"email": w.api.user.email, "password": PASSWORD}),
    ("post", f"{API}/auth/login/passkey"): _passkey_login,
    ("post", f"{API}/auth/login/oidc/{{provider}}"): lambda w: (None, w.oidc_callback("auth/login/oidc")),
    ("post", f"{API}/auth/providers/{{provider}}"): lambda w: (None, w.oidc_callback("auth/providers")),
    ("delete", f"{API}/auth/identities/{{id}}"): lambda w: (w.connect_identity(), None),
    ("post", f"{API}/auth/restore"): lambda w: (None, {"token": w.close_account()}),
    ("post", f"{API}/auth/impersonate"): lambda w: (None, {"token": w.impersonation_token()}),
    ("get", f"{API}/auth/me/export"): lambda w: (w.export_token() and None, None),
    ("post", f"{API}/auth/mfa/verify"): _verify_mfa,
    ("post", f"{API}/auth/email/verify"): lambda w: (None, {"token": w.email_token("sign_up")}),
    ("post", f"{API}/auth/email/resend"): lambda w: (None, {"email": w.api.user.email}),
    ("post", f"{API}/auth/email/change"): lambda w: (None, {"email": "moved@example.com"}),
    ("post", f"{API}/auth/password/forgot"): lambda w: (None, {"email": w.api.user.email}),
    ("post", f"{API}/auth/password/reset"): lambda w: (
        None,
        {"token": w.email_token("reset"), "password": NEW_PASSWORD},
    ),
    ("post", f"{API}/auth/password/change"): lambda w: (
        None,
        {"current_password": PASSWORD, "password": NEW_PASSWORD},
    ),
    ("post", f"{API}/auth/reauthenticate"): lambda w: (None, {"password": PASSWORD}),
    ("post", f"{API}/auth/refresh"): lambda w: (None, {}),
    ("post", f"{API}/auth/logout"): lambda w: (None, {}),
    ("delete", f"{API}/auth/sessions/{{id}}"): _another_session,
    ("delete", f"{API}/auth/totp"): _with_two_factors,
    ("post", f"{API}/auth/totp/confirm"): _confirm_totp,
    ("post", f"{API}/auth/recovery-codes"): lambda w: (w.add_totp() and None, None),
    ("post", f"{API}/auth/passkeys"): _create_passkey,
    ("patch", f"{API}/auth/passkeys/{{id}}"): lambda w: (w.add_passkey()["id"], {"name": "Renamed"}),
    ("delete", f"{API}/auth/passkeys/{{id}}"): _with_two_factors,
    ("post", f"{API}/api-keys"): lambda w: (None, {"label": "x", "scopes": ["sites.read"]}),
    ("delete", f"{API}/api-keys/{{id}}"): lambda w: (w.create_api_key()["id"], None),
    ("patch", f"{SITE_PATH}/analytics/settings"): _on_site({"timezone": "Europe/Berlin"}),
    ("post", f"{SITE_PATH}/analytics/goals"): _on_site(GOAL),
    ("post", f"{SITE_PATH}/analytics/segments"): _on_site(GOAL),
    ("post", f"{SITE_PATH}/analytics/funnels"): _on_site(FUNNEL),
    ("post", f"{SITE_PATH}/analytics/annotations"): _on_site(ANNOTATION),
    ("post", f"{SITE_PATH}/analytics/shares"): _on_site({"name": "For the board", "password": PASSWORD}),
    **{
        ("patch", f"{SITE_PATH}/analytics/{kind}s/{{{kind}}}"): _on_site({"name": "Renamed"})
        for kind in ("goal", "segment", "funnel")
    },
    ("get", f"{SITE_PATH}/analytics/weekly-mail"): _subscribed,
    ("delete", f"{SITE_PATH}/analytics/weekly-mail"): _subscribed,
    ("post", f"{SITE_PATH}/events"): lambda w: (
        w.site.pk,
        [{"name": "pageview", "url": address_of(w.site.subdomain)}],
    ),
    ("get", f"{API}/backups/{{id}}"): lambda w: (w.create_backup(), None),
    **{
        ("post", f"{API}/backups/{{id}}/{action}"): lambda w: (w.create_backup(), None)
        for action in ("verify", "drill")
    },
    ("post", f"{API}/vault"): lambda w: (None, {"vault_id": str(uuid.uuid4()), **vault_envelope(1)}),
    ("post", f"{API}/auth/password/vaults"): lambda w: (None, w.blind_password_body()),
    ("put", f"{API}/vault/{{vault_id}}"): lambda w: (None, vault_envelope(2)),
    ("post", f"{API}/vault/{{vault_id}}/rotate"): lambda w: (None, {**vault_envelope(2), "items": []}),
    ("post", f"{API}/vault/{{vault_id}}/items"): lambda w: (
        None,
        {"item_id": str(uuid.uuid4()), **vault_envelope(1)},
    ),
    ("put", f"{API}/vault/{{vault_id}}/items/{{item_id}}"): lambda w: (None, vault_envelope(2)),
    ("post", f"{API}/users"): lambda w: (
        None,
        {"email": "made@example.com", "name": "Made", "roles": ["user"]},
    ),
    ("get", f"{API}/users/{{id}}"): lambda w: (w.other_user.pk, None),
    ("put", f"{API}/users/{{id}}"): lambda w: (w.other_user.pk, USER_BODY),
    ("patch", f"{API}/users/{{id}}"): lambda w: (w.other_user.pk, {"name": "Renamed"}),
    ("delete", f"{API}/users/{{id}}"): lambda w: (w.other_user.pk, None),
    ("put", f"{API}/users/{{id}}/roles"): lambda w: (w.other_user.pk, {"roles": ["seller"]}),
    ("post", f"{API}/roles"): lambda w: (None, {"name": "made", "permissions": []}),
    ("get", f"{API}/roles/{{id}}"): lambda w: (w.role.pk, None),
    ("put", f"{API}/roles/{{id}}"): lambda w: (w.role.pk, {"name": f"{w.role.name}x", "permissions": []}),
    ("delete", f"{API}/roles/{{id}}"): lambda w: (w.role.pk, None),
}
