"""The cookie of known devices."""

import pytest

from accounts.models import User

pytestmark = pytest.mark.django_db


def test_find_device_nonce_requires_the_same_user_and_password(member, password_hash):
    from accounts.credentials import known_devices
    from accounts.credentials.known_devices import Device

    other = User(pk=member.pk, password="changed")
    cookie = known_devices.make_device_cookie(member, Device())

    assert known_devices.find_device_nonce(member, Device(cookie=cookie))
    assert not known_devices.find_device_nonce(other, Device(cookie=cookie))
    for invalid in ("", "~~~~~~~~", "a.b~" * 500, cookie[:-1], cookie.replace(".", ""), "é.é", "x" * 5000):
        assert not known_devices.find_device_nonce(member, Device(cookie=invalid))


def test_make_device_cookie_keeps_five_users(member):
    from accounts.credentials import known_devices
    from accounts.credentials.known_devices import Device

    users = [User(password=f"p{number}") for number in range(7)]
    cookie = ""
    for user in users:
        cookie = known_devices.make_device_cookie(user, Device(cookie=cookie))

    assert [bool(known_devices.find_device_nonce(user, Device(cookie=cookie))) for user in users] == [
        False
    ] * 2 + [True] * 5
    assert len(cookie) < 600
