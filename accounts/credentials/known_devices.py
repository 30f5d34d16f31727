"""Known devices: a cookie that only a browser has in which this account has signed in before.

Nothing is stored here.

A browser may be shared, so the cookie holds up to five entries `nonce.mac`. An entry ends with the password
it was made under.
"""

import secrets
from dataclasses import dataclass

from accounts.models import User
from core import encryption

SIGNATURE_PURPOSE = "known device"
MAX_COOKIE_ENTRIES = 5
MAX_ENTRY_CHARACTERS = 100  # of an entry


@dataclass(frozen=True, slots=True)
class Device:
    """Where somebody comes from: user agent (cut to 200 characters), network as written down (IPv4 /24, IPv6
    /48), client network as counted (IPv4 address, IPv6 /64; never stored), and the cookie of known devices.
    """

    agent: str = ""
    network: str = ""
    client: str = ""
    cookie: str = ""


def find_device_nonce(user: User, device: Device) -> str:
    """The nonce under which this device is known to be the user's; empty when it is not."""
    for entry in device.cookie.split("~")[:MAX_COOKIE_ENTRIES]:
        nonce, _, mac = entry.partition(".")
        if (
            len(entry) < MAX_ENTRY_CHARACTERS
            and mac.isascii()
            and encryption.verify_signature(SIGNATURE_PURPOSE, _signed_text(user, nonce), mac)
        ):
            return nonce
    return ""


def make_device_cookie(user: User, device: Device) -> str:
    """The cookie with this user first."""
    nonce = find_device_nonce(user, device) or secrets.token_hex(8)
    mine = f"{nonce}.{encryption.sign(SIGNATURE_PURPOSE, _signed_text(user, nonce))}"
    entries = device.cookie.split("~")[:MAX_COOKIE_ENTRIES]
    others = [
        entry
        for entry in entries
        if 0 < len(entry) < MAX_ENTRY_CHARACTERS and not entry.startswith(f"{nonce}.")
    ]
    return "~".join([mine, *others[: MAX_COOKIE_ENTRIES - 1]])


def _signed_text(user: User, nonce: str) -> str:
    return f"{user.pk}:{user.password}:{nonce}"
