"""What the views of accounts share: cookies, where a request comes from, and the answer to a sign-in."""

from django.conf import settings
from django.db.models import prefetch_related_objects
from django.http import HttpRequest
from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.credentials import challenges, known_devices
from accounts.credentials.known_devices import Device
from accounts.credentials.tokens import mint_access, refresh_token
from accounts.models import Session
from accounts.serializers.accounts import UserSerializer
from core.http.client_address import client_address, client_network, network_prefix

COOKIE = "refresh" if settings.DEVELOPMENT else "__Host-refresh"
DEVICE_COOKIE = "device" if settings.DEVELOPMENT else "__Host-device"
SIGN_IN_COOKIE = "sign-in" if settings.DEVELOPMENT else "__Host-sign-in"
DEVICE_SECONDS = 365 * 24 * 3600
NO_STORE = {"Cache-Control": "no-store"}


def device_of(request: Request | HttpRequest) -> Device:
    """Where a request comes from."""
    address = client_address(getattr(request, "_request", request))
    return Device(
        agent=request.headers.get("User-Agent", "")[:200],
        network=network_prefix(address),
        client=client_network(address),
        cookie=request.COOKIES.get(DEVICE_COOKIE, ""),
    )


def _set_cookie(response: Response, name: str, value: str, seconds: int) -> Response:
    response.set_cookie(
        name,
        value,
        max_age=seconds,
        path="/",
        secure=not settings.DEVELOPMENT,
        httponly=True,
        samesite="Strict",
    )
    return response


def set_refresh(response: Response, session: Session, token: str) -> Response:
    """The refresh token leaves in this cookie only."""
    return _set_cookie(response, COOKIE, token, int((session.expires_at - timezone.now()).total_seconds()))


def clear_refresh(response: Response) -> Response:
    return _set_cookie(response, COOKIE, "", 0)


def sent_away(address: str, secret: str) -> Response:
    """Where to send the browser that signs in by a provider; what it brings back is good in this browser
    only.
    """
    seconds = int(challenges.LIFETIME.total_seconds())
    answer = Response({"authorization_url": address, "expires_in": seconds}, headers=NO_STORE)
    return _set_cookie(answer, SIGN_IN_COOKIE, secret, seconds)


def signed_in(request: Request, session: Session, *, status: int = 200) -> Response:
    """Access token, user and both cookies for a session that was just opened."""
    user = session.user
    prefetch_related_objects([user], "roles")  # for the token and for the answer
    access, expires_in = mint_access(user, session)
    body = {"user": UserSerializer(user).data, "access": access, "expires_in": expires_in}
    answer = Response(body, status=status, headers=NO_STORE)
    if session.impersonator_id is None:
        _set_cookie(answer, DEVICE_COOKIE, known_devices.remember(user, device_of(request)), DEVICE_SECONDS)
    return set_refresh(answer, session, refresh_token(session.pk, session.generation))
