"""Known devices: a cookie identifies a browser in which an account has signed in before. Nothing is stored.

A browser may be shared, so the cookie holds up to five entries `nonce.mac`, one per account. An entry is
valid until the password of its account changes.
"""

import secrets
from dataclasses import dataclass

from accounts.models import User
from core import encryption

SIGNATURE_PURPOSE = "known device"
MAX_COOKIE_ENTRIES = 5
MAX_ENTRY_CHARACTERS = 100


@dataclass(frozen=True, slots=True)
class Device:
    """Where a request comes from.

    `agent` is the User-Agent header cut to 200 characters. `network` is the stored network (IPv4 /24, IPv6
    /48). `client` is the network that is throttled (IPv4 address, IPv6 /64) and never stored. `cookie` is the
    cookie of known devices.
    """

    agent: str = ""
    network: str = ""
    client: str = ""
    cookie: str = ""


def find_device_nonce(user: User, device: Device) -> str:
    """Return the nonce of this user's entry in the device cookie, or an empty string."""
    for entry in device.cookie.split("~")[:MAX_COOKIE_ENTRIES]:
        nonce, _, mac = entry.partition(".")
        if len(entry) >= MAX_ENTRY_CHARACTERS or not mac.isascii():
            continue
        if encryption.verify_signature(SIGNATURE_PURPOSE, _signed_text(user, nonce), mac):
            return nonce
    return ""


def make_device_cookie(user: User, device: Device) -> str:
    """Return the cookie of known devices with this user's entry in the first place."""
    nonce = find_device_nonce(user, device) or secrets.token_hex(8)
    own_entry = f"{nonce}.{encryption.sign(SIGNATURE_PURPOSE, _signed_text(user, nonce))}"
    other_entries = [
        entry
        for entry in device.cookie.split("~")[:MAX_COOKIE_ENTRIES]
        if 0 < len(entry) < MAX_ENTRY_CHARACTERS and not entry.startswith(f"{nonce}.")
    ]
    return "~".join([own_entry, *other_entries[: MAX_COOKIE_ENTRIES - 1]])


def _signed_text(user: User, nonce: str) -> str:
    return f"{user.pk}:{user.password}:{nonce}"
