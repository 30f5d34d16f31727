"""Test data around one signed-in account: the rows that operations of the API need before they succeed."""

import base64
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

import pyotp
from django.utils import timezone

from accounts.credentials.tokens import make_refresh_token
from accounts.models import EmailProof, Kdf, Role, User
from accounts.services import data_exports, email_links
from accounts.services import impersonation as impersonation_services
from accounts.services.email_links import make_token
from accounts.tests.factories import UserFactory
from audit import actors
from backups.models import BackupRun
from conftest import PASSWORD, ApiClient, sign_in
from core import tenancy
from core.http.preconditions import ANY_VERSION
from sites.models import Access, Site
from sites.services import members as member_services
from sites.tests.factories import SiteFactory
from tests.authenticator import Authenticator
from tests.oidc_fixtures import OidcServer

TOTP_STEP_SECONDS = 30


def wait_for_stable_totp_step() -> None:
    """Wait until the current TOTP step lasts at least five seconds more.

    The server accepts a code of the previous step. Near the end of a step, such a code could be two steps old
    when the server verifies it.
    """
    remaining = TOTP_STEP_SECONDS - time.time() % TOTP_STEP_SECONDS
    if remaining < 5:
        time.sleep(remaining)


@dataclass
class World:
    """A signed-in account that owns a site, and another account beside it.

    The methods create what else an operation needs. Each returns the id, the token or the representation
    that the operation is called with.
    """

    api: ApiClient
    site: Site
    other_user: User
    role: Role
    authenticator: Authenticator = field(default_factory=Authenticator)
    vault_id: str = ""

    def add_passkey(self) -> Any:
        """Register a passkey of the account."""
        options = self.api.post("auth/passkeys/options").json()
        credential = self.authenticator.create(options["public_key"])
        response = self.api.post(
            "auth/passkeys", {"challenge": options["challenge"], "credential": credential, "name": "Laptop"}
        )
        assert response.status_code == 201, response.content
        return response.json()

    def add_totp(self) -> pyotp.TOTP:
        """Set up an authenticator app of the account. It is confirmed with a code of the previous step."""
        app = pyotp.TOTP(self.api.post("auth/totp").json()["secret"])
        wait_for_stable_totp_step()
        code = app.at(timezone.now() - timezone.timedelta(seconds=TOTP_STEP_SECONDS))
        assert self.api.post("auth/totp/confirm", {"code": code}).status_code == 200
        return app

    def email_token(self, purpose: str, *, email: str = "proved@example.com") -> str:
        """The token of a mailed link: for `sign_up` with `email`, or for `reset` of the password."""
        if purpose == "sign_up":
            email_links.request_sign_up(email=email, password=PASSWORD, now=timezone.now())
        else:
            email_links.request_password_reset(self.api.user.email, now=timezone.now())
        email_links.mail_requested_links(now=timezone.now())
        return make_token(EmailProof.objects.latest("id"))

    def invitation_token(self) -> str:
        """The token of an invitation of the account to a site of the other user."""
        site = SiteFactory(owner=self.other_user)
        with tenancy.context(tenancy.SYSTEM):
            invitation = member_services.invite_member(
                site,
                email=self.api.user.email,
                role="editor",
                actor=actors.user(self.other_user),
                now=timezone.now(),
            )
        return member_services.invitation_token(invitation)

    def add_member(self, role: str = "author") -> Any:
        """Give the other user a role on the site."""
        with tenancy.context(tenancy.SYSTEM):
            Access.objects.create(site=self.site, user=self.other_user, role=role)
        return self.other_user.pk

    def create_on_site(self, collection: str, body: Any = None) -> Any:
        """POST to a collection of the site, such as `posts`, and return the id of the new row."""
        response = self.api.post(f"sites/{self.site.pk}/{collection}", body)
        assert response.status_code == 201, response.content
        return response.json()["id"]

    def oidc_callback(self, path: str) -> dict[str, str]:
        """The parameters with which a browser returns from the OpenID Connect provider of the tests."""
        return OidcServer.authorize(self.api.post(f"{path}/mock/options").json()["authorization_url"])

    def connect_identity(self) -> Any:
        """Connect an account at the OpenID Connect provider."""
        return self.api.post("auth/providers/mock", self.oidc_callback("auth/providers")).json()["id"]

    def close_account(self) -> str:
        """Close the account; return the token of the mailed link that opens it again."""
        UserFactory(role="admin")  # so that an admin remains
        email_links.close_account(self.api.user.pk, now=timezone.now(), if_match=ANY_VERSION)
        return make_token(EmailProof.objects.latest("id"))

    def impersonation_token(self) -> str:
        """The token with which a member of staff begins to impersonate the other user."""
        staff = UserFactory(role="admin")
        link = impersonation_services.begin_impersonation(
            self.other_user.pk, staff=staff, reason="They asked.", now=timezone.now()
        )
        return link.partition("#")[2]

    def export_token(self) -> str:
        """Export the data of the account; return the token of the download link."""
        self.api.post("auth/me/export")
        data_exports.make_exports(now=timezone.now())
        return self.api.get("auth/me/export").json()["link"].rpartition("/")[2]

    def get_or_create_vault(self) -> str:
        """The id of the account's vault, which is created on the first call."""
        if not self.vault_id:
            self.vault_id = str(uuid.uuid4())
            response = self.api.post("vault", {"vault_id": self.vault_id, **vault_envelope(1)})
            assert response.status_code == 201
        return self.vault_id

    def create_vault_item(self) -> str:
        """Store an item in the account's vault."""
        body = {"item_id": str(uuid.uuid4()), **vault_envelope(1)}
        response = self.api.post(f"vault/{self.get_or_create_vault()}/items", body, if_match="*")
        assert response.status_code == 201, response.content
        return str(response.json()["item_id"])

    def blind_password_body(self) -> dict[str, Any]:
        """A body that makes the account blind. Staff may not be blind, so its other roles are removed."""
        self.api.user.roles.set(Role.objects.filter(name="user"))
        secret = base64.b64encode(bytes(range(32))).decode()
        return {
            "current_password": PASSWORD,
            "scheme": "blind",
            "kdf": {"algorithm": Kdf.ALGORITHM, "iterations": Kdf.MIN_ITERATIONS},
            "salt": secret,
            "auth_hash": secret,
            "vaults": [],
        }

    def create_backup(self) -> Any:
        """Create the row of a finished backup, dated when the site was created, without its objects."""
        with tenancy.context(tenancy.SYSTEM):
            taken_at = Access.objects.get(site=self.site, role="owner").role_since
        return BackupRun.objects.create(status="done", name="runs/none", provable=True, taken_at=taken_at).pk

    def create_api_key(self) -> Any:
        """Issue an API key that may read sites."""
        return self.api.post("api-keys", {"label": "A key", "scopes": ["sites.read"]}).json()


def new_world(password_hash: str, *, role: str = "admin") -> World:
    """Create a world. Its account has `role` and the password of `password_hash`."""
    api = sign_in(UserFactory(password=password_hash, role=role))
    api.client.cookies["refresh"] = make_refresh_token(api.session.pk, 1)
    own_role = Role.objects.create(name=f"own-{api.user.pk.hex[-12:]}", permissions=[])
    return World(api, SiteFactory(owner=api.user), UserFactory(), own_role)


def vault_envelope(version: int) -> dict[str, Any]:
    """An envelope as a client of the vault sends it. Its content is arbitrary."""
    text = base64.b64encode(bytes(range(32))).decode()
    return {"ciphertext": text, "iv": base64.b64encode(bytes(12)).decode(), "salt": text, "version": version}
