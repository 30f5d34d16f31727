"""Helpers for tests that call the API as a browser does and read mails."""

import base64
import hashlib
import re
import time
import zlib
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings
from django.http import HttpResponse
from django.test import Client
from django.utils import timezone

from accounts.credentials.tokens import make_refresh_token
from accounts.models import Role, Session
from accounts.services import email_links
from accounts.tests.factories import UserFactory
from conftest import PASSWORD, ApiClient, encode_body, sign_in
from core.jobs import mail
from core.storage import cache

ORIGIN = "http://localhost:3000"
BROWSER_HEADERS = {"X-Requested-With": "fetch", "Origin": ORIGIN}


def post_auth(client, path, data=None, **headers) -> HttpResponse:
    return client.generic(
        "POST",
        f"/api/v1/auth/{path}",
        encode_body(data or {}),
        content_type="application/json",
        headers=headers,
    )


def client_with_refresh_cookie(session: Session, generation: int | None = None) -> Client:
    """Return a client with the refresh cookie of `session`."""
    client = Client()
    client.cookies["refresh"] = make_refresh_token(session.pk, generation or session.generation)
    return client


def deliver_and_read_mails(address: str, *, now=None) -> list[str]:
    """Run the mail tasks, then return the texts of all mails to `address`, oldest first."""
    email_links.mail_requested_links(now=now or timezone.now())
    mail.deliver_due_mail(now=now or timezone.now())
    return [path.read_text() for path in sorted(Path(settings.MAIL_FOLDER).glob(f"*-{address}.txt"))]


def token_in_mail(text: str) -> str:
    """Return the token of the link in a mail."""
    return re.search(r"https?://\S+#(\S+)", text)[1]


def subject_of_mail(text: str) -> str:
    return re.search(r"(?m)^Subject: (.*)$", text)[1]


def log_in(world) -> HttpResponse:
    """Sign in by password, the first step."""
    return post_auth(Client(), "login", {"email": world.api.user.email, "password": PASSWORD})


def verify_mfa(challenge: str, **factor) -> HttpResponse:
    """Answer the challenge of a second factor, the second step."""
    return post_auth(Client(), "mfa/verify", {"challenge": challenge, **factor})


def address_in_mid_window() -> str:
    """Return a client address in the middle of its one-minute window of django-ratelimit.

    The windows are fixed and shifted by the CRC of the key.
    """
    return next(
        address
        for address in (f"198.51.100.{number}" for number in range(1, 255))
        if 5 < (time.time() - zlib.crc32(address.encode())) % 60 < 30
    )


def auth_hash(password: str, salt: bytes, iterations: int = 600_000) -> str:
    """Return the auth hash of a zero-knowledge client, implemented from docs/accounts.md alone."""
    master = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, iterations)
    return base64.b64encode(HKDF(hashes.SHA256(), 32, b"", b"getyousite/v1/auth").derive(master)).decode()


def zero_knowledge_fields(
    password: str, *, salt: bytes = b"sixteen bytes ok", iterations: int = 600_000
) -> dict[str, object]:
    """Return the fields that register a zero-knowledge account, or set its new password."""
    kdf = {"algorithm": "PBKDF2-SHA256", "iterations": iterations}
    encoded = base64.b64encode(salt).decode()
    return {
        "scheme": "blind",
        "kdf": kdf,
        "salt": encoded,
        "auth_hash": auth_hash(password, salt, iterations),
    }


ZERO_KNOWLEDGE_EMAIL = "blind@example.com"
ZERO_KNOWLEDGE_CREDENTIALS = zero_knowledge_fields(PASSWORD)


def sign_up_zero_knowledge(**fields) -> HttpResponse:
    """Register an account with zero-knowledge login."""
    body = {"email": ZERO_KNOWLEDGE_EMAIL, "name": "Blind", **ZERO_KNOWLEDGE_CREDENTIALS, **fields}
    return post_auth(Client(), "register", body)


def prelogin(email: str = ZERO_KNOWLEDGE_EMAIL) -> HttpResponse:
    """Ask how an address signs in, with an empty cache of the distribution."""
    cache.clear("shared", "prelogin")
    return post_auth(Client(), "prelogin", {"email": email})


def api_with_permissions(*permissions: str) -> ApiClient:
    """Return the API of a user with a role that grants these permissions."""
    name = f"own-{len(permissions)}-{Role.objects.count()}"
    role = Role.objects.create(name=name, permissions=list(permissions))
    user = UserFactory()
    user.roles.set([role])
    return sign_in(user)
