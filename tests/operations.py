"""Every operation of the OpenAPI document, and what it takes for each to succeed."""

import base64
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

import pyotp
from django.utils import timezone
from drf_spectacular.generators import SchemaGenerator

from accounts.credentials.tokens import refresh_token
from accounts.models import EmailProof, Kdf, Role, User
from accounts.services import data_exports, email_links
from accounts.services import impersonation as impersonation_services
from accounts.services.email_links import token_of
from accounts.tests.factories import UserFactory
from audit import actors
from backups.models import BackupRun
from conftest import PASSWORD, Api, sign_in
from core import tenancy
from core.http.preconditions import ANY_VERSION
from sites.models import Access, Release, Revision, Site
from sites.services import members as services_of_sites
from sites.subdomains import address_of
from sites.tests.factories import SiteFactory, document
from tests.authenticator import Authenticator
from tests.issuer import MockIssuer

FROM_PAGE = {"X-Requested-With": "fetch", "Origin": "http://localhost:3000"}
NEW_PASSWORD = "another long enough phrase"
# POSTs that only hand out or read something: nothing is changed, so nothing is recorded.
CHANGING_NOTHING = {
    ("post", "/api/v1/sites/{id}/events"),  # thousands a second, and each is a row of its own
    ("post", "/api/v1/invitations/open"),
    ("post", "/api/v1/auth/prelogin"),
    ("post", "/api/v1/auth/login/oidc/{provider}/options"),
    ("post", "/api/v1/auth/providers/{provider}/options"),
    ("post", "/api/v1/auth/login/passkey/options"),
    ("post", "/api/v1/auth/passkeys/options"),
    ("post", "/api/v1/auth/reauthenticate/passkey/options"),
}


def operations() -> list[tuple[str, str, dict[str, Any]]]:
    """Method, path with `{id}`, and the operation's description."""
    paths = SchemaGenerator().get_schema(request=None, public=True)["paths"]
    return [
        (method, path, operation) for path, methods in paths.items() for method, operation in methods.items()
    ]


ALL = operations()
OPERATIONS = [(method, path) for method, path, _ in ALL]
MUTATING = [
    (method, path)
    for method, path in OPERATIONS
    if method != "get" and (method, path) not in CHANGING_NOTHING
]


def calm_step() -> None:
    """Not at the end of a half minute: a code of the one before would be two steps old by the time it is
    read.
    """
    left = 30 - time.time() % 30
    if left < 5:
        time.sleep(left)


@dataclass
class World:
    """Somebody signed in who owns one of everything, and a second account beside theirs."""

    api: Api
    site: Site
    beside: User
    role: Role
    authenticator: Authenticator = field(default_factory=Authenticator)
    vault_id: str = ""

    def passkey(self) -> Any:
        """A passkey of the one who is signed in."""
        asked = self.api.post("auth/passkeys/options").json()
        made = self.authenticator.create(asked["public_key"])
        answer = self.api.post(
            "auth/passkeys", {"challenge": asked["challenge"], "credential": made, "name": "Laptop"}
        )
        assert answer.status_code == 201, answer.content
        return answer.json()

    def totp(self) -> pyotp.TOTP:
        """An authenticator app of the one who is signed in, confirmed with a code of the past half minute."""
        app = pyotp.TOTP(self.api.post("auth/totp").json()["secret"])
        calm_step()
        before = app.at(timezone.now() - timezone.timedelta(seconds=30))
        assert self.api.post("auth/totp/confirm", {"code": before}).status_code == 200
        return app

    def proof(self, purpose: str, *, email: str = "proved@example.com") -> str:
        """The token of a mailed link."""
        user = self.api.user
        if purpose == "sign_up":
            email_links.request_sign_up(email=email, password=PASSWORD, now=timezone.now())
        else:
            email_links.request_reset(user.email, now=timezone.now())
        email_links.mail_proofs(now=timezone.now())
        return token_of(EmailProof.objects.latest("id"))

    def invitation(self) -> str:
        """The token of a mailed invitation to a site of the second account, for the one who is signed in."""
        site = SiteFactory(owner=self.beside)
        with tenancy.context(tenancy.SYSTEM):
            made = services_of_sites.invite_member(
                site,
                email=self.api.user.email,
                role="editor",
                actor=actors.user(self.beside),
                now=timezone.now(),
            )
        return services_of_sites.invitation_token(made)

    def member(self, role: str = "author") -> Any:
        """The second account, with a role on the site."""
        with tenancy.context(tenancy.SYSTEM):
            Access.objects.create(site=self.site, user=self.beside, role=role)
        return self.beside.pk

    def of_site(self, what: str, body: Any = None) -> Any:
        """Something that was made of the site over the API; its id."""
        answer = self.api.post(f"sites/{self.site.pk}/{what}", body)
        assert answer.status_code == 201, answer.content
        return answer.json()["id"]

    def provider(self, path: str) -> dict[str, str]:
        """What a browser brings back from the sign-in provider of the tests."""
        return MockIssuer.visit(self.api.post(f"{path}/mock/options").json()["authorization_url"])

    def identity(self) -> Any:
        """An account at the sign-in provider that opens the one who is signed in."""
        return self.api.post("auth/providers/mock", self.provider("auth/providers")).json()["id"]

    def closed(self) -> str:
        """The token of the mailed link that opens the account again, which is closed."""
        UserFactory(role="admin")  # so that an admin is left
        email_links.close_account(self.api.user.pk, now=timezone.now(), if_match=ANY_VERSION)
        return token_of(EmailProof.objects.latest("id"))

    def impersonation(self) -> str:
        """The token of a session that staff have begun as the second account."""
        staff = UserFactory(role="admin")
        link = impersonation_services.begin_impersonation(
            self.beside.pk, staff=staff, reason="They asked.", now=timezone.now()
        )
        return link.partition("#")[2]

    def export(self) -> str:
        """The token of an archive that is there."""
        self.api.post("auth/me/export")
        data_exports.make_exports(now=timezone.now())
        return self.api.get("auth/me/export").json()["link"].rpartition("/")[2]

    def vault(self) -> str:
        """The id of a vault of the one who is signed in, made when it is first asked for."""
        if not self.vault_id:
            self.vault_id = str(uuid.uuid4())
            assert self.api.post("vault", {"vault_id": self.vault_id, **envelope(1)}).status_code == 201
        return self.vault_id

    def item(self) -> str:
        """The id of something in that vault."""
        made = self.api.post(
            f"vault/{self.vault()}/items", {"item_id": str(uuid.uuid4()), **envelope(1)}, if_match="*"
        )
        assert made.status_code == 201, made.content
        return str(made.json()["item_id"])

    def blind(self) -> dict[str, Any]:
        """What makes the one who is signed in blind. They are nobody of staff any more."""
        self.api.user.roles.set(Role.objects.filter(name="user"))
        secret = base64.b64encode(bytes(range(32))).decode()
        kdf = {"algorithm": Kdf.ALGORITHM, "iterations": Kdf.MIN_ITERATIONS}
        parts = {"scheme": "blind", "kdf": kdf, "salt": secret, "auth_hash": secret}
        return {"current_password": PASSWORD, **parts, "vaults": []}

    def backup(self) -> Any:
        """The id of a backup of the moment in which the site was made. There is nothing in the store."""
        facts = {"name": "runs/none", "provable": True, "taken_at": self.site.created_at}
        return BackupRun.objects.create(status="done", **facts).pk

    def key(self) -> Any:
        return self.api.post("api-keys", {"label": "A key", "scopes": ["sites.read"]}).json()


def new_world(password_hash: str, *, role: str = "admin") -> World:
    """A world whose owner has `role`."""
    api = sign_in(UserFactory(password=password_hash, role=role))
    api.client.cookies["refresh"] = refresh_token(api.session.pk, 1)
    own_role = Role.objects.create(name=f"own-{api.user.pk.hex[-12:]}", permissions=[])
    return World(api, SiteFactory(owner=api.user), UserFactory(), own_role)


def ready(method: str, path: str, world: World) -> tuple[str, Any]:
    """Bring about what must be true before the operation can succeed; its address and its body."""
    if "{release}" in path:
        world.api.post(f"sites/{world.site.pk}/publish")
    prepare = PREPARED.get((method, path))
    pk, body = prepare(world) if prepare else (world.site.pk, None)
    made = {name: make(world) for name, make in MADE.items() if f"{{{name}}}" in path}
    if "{vault_id}" in path and path.endswith("/restore"):
        world.api.delete(path.removesuffix("/restore").format(**made), if_match="*")
    if path.endswith("/posts/{post_id}/restore"):
        world.api.delete(f"sites/{world.site.pk}/posts/{made['post_id']}", if_match="*")
    with tenancy.context(tenancy.SYSTEM):
        inner = {
            **made,
            "host": f"{world.site.subdomain}.localhost",
            "slug": "a-post",
            "provider": "mock",
            "id": pk,
            "block": "home-h",
            "revision": Revision.objects.filter(site=world.site).values_list("pk", flat=True).first(),
            "release": Release.objects.filter(site=world.site)
            .order_by("pk")
            .values_list("pk", flat=True)
            .first(),
        }
    return path.format(**inner), body


def envelope(version: int) -> dict[str, Any]:
    """What a client of the vault might send."""
    text = base64.b64encode(bytes(range(32))).decode()
    return {"ciphertext": text, "iv": base64.b64encode(bytes(12)).decode(), "salt": text, "version": version}


def soon() -> str:
    """A moment that a change may be planned for."""
    return str((timezone.now() + timezone.timedelta(hours=1)).isoformat())


def _of_site(body: Any = None, *, published: bool = False, deleted: bool = False) -> Any:
    def prepare(world: World) -> tuple[Any, Any]:
        if published:
            world.api.post(f"sites/{world.site.pk}/publish")
        if deleted:
            world.api.delete(f"sites/{world.site.pk}", if_match="*")
        return world.site.pk, body() if callable(body) else body

    return prepare


def _challenge(world: World) -> str:
    answer = world.api.post("auth/login", {"email": world.api.user.email, "password": PASSWORD})
    return str(answer.json()["challenge"])


def _verify_mfa(world: World) -> tuple[Any, Any]:
    app = world.totp()
    return None, {"challenge": _challenge(world), "code": app.now()}


def _passkey_sign_in(world: World) -> tuple[Any, Any]:
    world.passkey()
    asked = world.api.post("auth/login/passkey/options").json()
    return None, {"challenge": asked["challenge"], "credential": world.authenticator.get(asked["public_key"])}


def _create_passkey(world: World) -> tuple[Any, Any]:
    asked = world.api.post("auth/passkeys/options").json()
    made = world.authenticator.create(asked["public_key"])
    return None, {"challenge": asked["challenge"], "credential": made, "name": "Phone"}


def _confirm_totp(world: World) -> tuple[Any, Any]:
    return None, {"code": pyotp.TOTP(world.api.post("auth/totp").json()["secret"]).now()}


def _with_two_factors(world: World) -> tuple[Any, Any]:
    """Staff keep their last one."""
    world.totp()
    return world.passkey()["id"], None


def _another_session(world: World) -> tuple[Any, Any]:
    return sign_in(world.api.user).session.pk, None


def _public(world: World) -> tuple[Any, Any]:
    world.of_site("posts", {"title": "A post", "published_at": "2020-01-01T00:00:00Z"})
    world.api.post(f"sites/{world.site.pk}/publish")
    return None, None


def _subscribed(world: World) -> tuple[Any, Any]:
    world.api.call("PUT", f"/api/v1/sites/{world.site.pk}/analytics/weekly-mail")
    return world.site.pk, None


def _roll_back(world: World) -> tuple[Any, Any]:
    world.api.post(f"sites/{world.site.pk}/publish")  # so that the first release is not the live one
    return world.site.pk, None


V1 = "/api/v1"
SITE = f"{V1}/sites/{{id}}"
GOAL = {"name": "Thanks", "conditions": ["page:is:/thanks"]}
FUNNEL = {"name": "To the menu", "conditions": ["page:is:/", "page:is:/menu"]}
NOTE = {"day": "2026-03-01", "text": "A feast"}
MADE: dict[str, Any] = {
    "schedule": lambda w: w.of_site("schedules", {"at": soon()}),
    "review": lambda w: w.of_site("reviews"),
    "preview": lambda w: w.of_site("previews", {}),
    "member": lambda w: w.member(),
    "invitation": lambda w: w.of_site("invitations", {"email": "invited@example.com", "role": "author"}),
    "post_id": lambda w: w.of_site("posts", {"title": "A post"}),
    "goal": lambda w: w.of_site("analytics/goals", GOAL),
    "segment": lambda w: w.of_site("analytics/segments", GOAL),
    "funnel": lambda w: w.of_site("analytics/funnels", FUNNEL),
    "annotation": lambda w: w.of_site("analytics/annotations", NOTE),
    "share": lambda w: w.of_site("analytics/shares", {"name": "For the board"}),
    "token": lambda w: w.export(),
    "point": lambda w: w.backup(),
    "vault_id": lambda w: w.vault(),
    "item_id": lambda w: w.item(),
}
ACCOUNT = {"name": "Renamed", "age": 40, "is_active": True}
PREPARED: dict[tuple[str, str], Any] = {
    ("post", f"{V1}/sites"): lambda w: (None, {"name": "x", "subdomain": f"made-{w.site.pk.hex[-10:]}"}),
    ("patch", f"{V1}/sites/{{id}}"): _of_site({"name": "Renamed"}),
    ("put", f"{V1}/sites/{{id}}/blueprint"): _of_site(document),
    ("patch", f"{V1}/sites/{{id}}/blueprint"): _of_site(
        [{"op": "replace", "path": "/settings/title", "value": "Patched"}]
    ),
    ("patch", f"{V1}/sites/{{id}}/blocks/{{block}}"): _of_site({"props": {"text": "Patched"}}),
    ("post", f"{V1}/sites/{{id}}/unpublish"): _of_site(published=True),
    ("post", f"{V1}/sites/{{id}}/restore"): _of_site(deleted=True),
    ("post", f"{SITE}/releases/{{release}}/publish"): _roll_back,
    ("post", f"{SITE}/schedules"): lambda w: (w.site.pk, {"at": soon()}),
    ("post", f"{SITE}/reviews/{{review}}/return"): _of_site({"comment": "Almost."}),
    ("post", f"{SITE}/previews"): _of_site({}),
    ("patch", f"{SITE}/members/{{member}}"): _of_site({"role": "viewer"}),
    ("post", f"{SITE}/transfer"): lambda w: (w.site.pk, {"member": str(w.member())}),
    ("post", f"{SITE}/invitations"): _of_site({"email": "invited@example.com", "role": "viewer"}),
    ("post", f"{V1}/invitations/open"): lambda w: (None, {"token": w.invitation()}),
    ("post", f"{V1}/invitations/accept"): lambda w: (None, {"token": w.invitation()}),
    ("post", f"{SITE}/posts"): _of_site({"title": "A post", "published_at": "2020-01-01T00:00:00Z"}),
    ("patch", f"{SITE}/posts/{{post_id}}"): _of_site({"title": "Renamed", "slug": "renamed"}),
    ("get", f"{V1}/public/sites/{{host}}"): _public,
    ("get", f"{V1}/public/sites/{{host}}/pages"): _public,
    ("get", f"{V1}/public/sites/{{host}}/posts"): _public,
    ("get", f"{V1}/public/sites/{{host}}/posts/{{slug}}"): _public,
    ("patch", f"{V1}/auth/me"): lambda w: (None, {"name": "Renamed"}),
    ("delete", f"{V1}/auth/me"): lambda w: (UserFactory(role="admin").pk, None),  # so that an admin is left
    ("post", f"{V1}/auth/register"): lambda w: (
        None,
        {"email": "recorded@example.com", "password": PASSWORD},
    ),
    ("post", f"{V1}/auth/prelogin"): lambda w: (None, {"email": w.api.user.email}),
    ("post", f"{V1}/auth/login"): lambda w: (None, {"email": w.api.user.email, "password": PASSWORD}),
    ("post", f"{V1}/auth/login/passkey"): _passkey_sign_in,
    ("post", f"{V1}/auth/login/oidc/{{provider}}"): lambda w: (None, w.provider("auth/login/oidc")),
    ("post", f"{V1}/auth/providers/{{provider}}"): lambda w: (None, w.provider("auth/providers")),
    ("delete", f"{V1}/auth/identities/{{id}}"): lambda w: (w.identity(), None),
    ("post", f"{V1}/auth/restore"): lambda w: (None, {"token": w.closed()}),
    ("post", f"{V1}/auth/impersonate"): lambda w: (None, {"token": w.impersonation()}),
    ("get", f"{V1}/auth/me/export"): lambda w: (w.export() and None, None),
    ("post", f"{V1}/auth/mfa/verify"): _verify_mfa,
    ("post", f"{V1}/auth/email/verify"): lambda w: (None, {"token": w.proof("sign_up")}),
    ("post", f"{V1}/auth/email/resend"): lambda w: (None, {"email": w.api.user.email}),
    ("post", f"{V1}/auth/email/change"): lambda w: (None, {"email": "moved@example.com"}),
    ("post", f"{V1}/auth/password/forgot"): lambda w: (None, {"email": w.api.user.email}),
    ("post", f"{V1}/auth/password/reset"): lambda w: (
        None,
        {"token": w.proof("reset"), "password": NEW_PASSWORD},
    ),
    ("post", f"{V1}/auth/password/change"): lambda w: (
        None,
        {"current_password": PASSWORD, "password": NEW_PASSWORD},
    ),
    ("post", f"{V1}/auth/reauthenticate"): lambda w: (None, {"password": PASSWORD}),
    ("post", f"{V1}/auth/refresh"): lambda w: (None, {}),
    ("post", f"{V1}/auth/logout"): lambda w: (None, {}),
    ("delete", f"{V1}/auth/sessions/{{id}}"): _another_session,
    ("delete", f"{V1}/auth/totp"): _with_two_factors,
    ("post", f"{V1}/auth/totp/confirm"): _confirm_totp,
    ("post", f"{V1}/auth/recovery-codes"): lambda w: (w.totp() and None, None),
    ("post", f"{V1}/auth/passkeys"): _create_passkey,
    ("patch", f"{V1}/auth/passkeys/{{id}}"): lambda w: (w.passkey()["id"], {"name": "Renamed"}),
    ("delete", f"{V1}/auth/passkeys/{{id}}"): _with_two_factors,
    ("post", f"{V1}/api-keys"): lambda w: (None, {"label": "x", "scopes": ["sites.read"]}),
    ("delete", f"{V1}/api-keys/{{id}}"): lambda w: (w.key()["id"], None),
    ("patch", f"{SITE}/analytics/settings"): _of_site({"timezone": "Europe/Berlin"}),
    ("post", f"{SITE}/analytics/goals"): _of_site(GOAL),
    ("post", f"{SITE}/analytics/segments"): _of_site(GOAL),
    ("post", f"{SITE}/analytics/funnels"): _of_site(FUNNEL),
    ("post", f"{SITE}/analytics/annotations"): _of_site(NOTE),
    ("post", f"{SITE}/analytics/shares"): _of_site({"name": "For the board", "password": PASSWORD}),
    **{
        ("patch", f"{SITE}/analytics/{kind}s/{{{kind}}}"): _of_site({"name": "Renamed"})
        for kind in ("goal", "segment", "funnel")
    },
    ("get", f"{SITE}/analytics/weekly-mail"): _subscribed,
    ("delete", f"{SITE}/analytics/weekly-mail"): _subscribed,
    ("post", f"{SITE}/events"): lambda w: (
        w.site.pk,
        [{"name": "pageview", "url": address_of(w.site.subdomain)}],
    ),
    ("get", f"{V1}/backups/{{id}}"): lambda w: (w.backup(), None),
    **{("post", f"{V1}/backups/{{id}}/{act}"): lambda w: (w.backup(), None) for act in ("verify", "drill")},
    ("post", f"{V1}/vault"): lambda w: (None, {"vault_id": str(uuid.uuid4()), **envelope(1)}),
    ("post", f"{V1}/auth/password/vaults"): lambda w: (None, w.blind()),
    ("put", f"{V1}/vault/{{vault_id}}"): lambda w: (None, envelope(2)),
    ("post", f"{V1}/vault/{{vault_id}}/rotate"): lambda w: (None, {**envelope(2), "items": []}),
    ("post", f"{V1}/vault/{{vault_id}}/items"): lambda w: (
        None,
        {"item_id": str(uuid.uuid4()), **envelope(1)},
    ),
    ("put", f"{V1}/vault/{{vault_id}}/items/{{item_id}}"): lambda w: (None, envelope(2)),
    ("post", f"{V1}/users"): lambda w: (
        None,
        {"email": "made@example.com", "name": "Made", "roles": ["user"]},
    ),
    ("get", f"{V1}/users/{{id}}"): lambda w: (w.beside.pk, None),
    ("put", f"{V1}/users/{{id}}"): lambda w: (w.beside.pk, ACCOUNT),
    ("patch", f"{V1}/users/{{id}}"): lambda w: (w.beside.pk, {"name": "Renamed"}),
    ("delete", f"{V1}/users/{{id}}"): lambda w: (w.beside.pk, None),
    ("put", f"{V1}/users/{{id}}/roles"): lambda w: (w.beside.pk, {"roles": ["seller"]}),
    ("post", f"{V1}/roles"): lambda w: (None, {"name": "made", "permissions": []}),
    ("get", f"{V1}/roles/{{id}}"): lambda w: (w.role.pk, None),
    ("put", f"{V1}/roles/{{id}}"): lambda w: (w.role.pk, {"name": f"{w.role.name}x", "permissions": []}),
    ("delete", f"{V1}/roles/{{id}}"): lambda w: (w.role.pk, None),
}


def call(world: World, method: str, path: str, **headers: str) -> Any:
    """Make the operation succeed, if this caller may."""
    address, body = ready(method, path, world)
    options = {} if method == "get" else {"if_match": "*"}
    return world.api.call(method.upper(), address, body, **options, **FROM_PAGE, **headers)
