"""How tests call the API as a browser does, and how they read mail."""

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

from accounts.credentials.tokens import refresh_token
from accounts.models import Session
from accounts.services import email_links
from conftest import PASSWORD, encode_body
from core.jobs import mail

ORIGIN = "http://localhost:3000"
FROM_PAGE = {"X-Requested-With": "fetch", "Origin": ORIGIN}


def post(client, path, data=None, **headers) -> HttpResponse:
    return client.generic(
        "POST",
        f"/api/v1/auth/{path}",
        encode_body(data or {}),
        content_type="application/json",
        headers=headers,
    )


def cookie_of(session: Session, generation: int | None = None) -> Client:
    """A browser with the refresh cookie of `session`."""
    client = Client()
    client.cookies["refresh"] = refresh_token(session.pk, generation or session.generation)
    return client


def mails_to(address: str, *, now=None) -> list[str]:
    """Let the workers do what waits, then read what has been mailed to `address`, oldest first."""
    email_links.mail_proofs(now=now or timezone.now())
    mail.deliver_due_mail(now=now or timezone.now())
    return [path.read_text() for path in sorted(Path(settings.MAIL_FOLDER).glob(f"*-{address}.txt"))]


def link_token(text: str) -> str:
    """The token in a mailed link."""
    return re.search(r"https?://\S+#(\S+)", text)[1]


def subject(text: str) -> str:
    return re.search(r"(?m)^Subject: (.*)$", text)[1]


def login(world) -> HttpResponse:
    """The first step of signing in."""
    return post(Client(), "login", {"email": world.api.user.email, "password": PASSWORD})


def answer(challenge: str, **factor) -> HttpResponse:
    """The second one."""
    return post(Client(), "mfa/verify", {"challenge": challenge, **factor})


def calm_address() -> str:
    """An address whose minute at django-ratelimit neither began just now nor ends soon: its windows are
    fixed, shifted by CRC.
    """
    return next(
        address
        for address in (f"198.51.100.{number}" for number in range(1, 255))
        if 5 < (time.time() - zlib.crc32(address.encode())) % 60 < 30
    )


def auth_hash(password: str, salt: bytes, iterations: int = 600_000) -> str:
    """What a client of a blind account sends: written down here a second time, from docs/accounts.md alone."""
    master = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, iterations)
    return base64.b64encode(HKDF(hashes.SHA256(), 32, b"", b"getyousite/v1/auth").derive(master)).decode()


def blind(
    password: str, *, salt: bytes = b"sixteen bytes ok", iterations: int = 600_000
) -> dict[str, object]:
    """The fields that make an account blind, or set a new password of one."""
    kdf = {"algorithm": "PBKDF2-SHA256", "iterations": iterations}
    encoded = base64.b64encode(salt).decode()
    return {
        "scheme": "blind",
        "kdf": kdf,
        "salt": encoded,
        "auth_hash": auth_hash(password, salt, iterations),
    }
