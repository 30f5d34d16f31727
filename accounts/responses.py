"""Responses to a sign-in, their cookies, and the device of a request."""

from django.conf import settings
from django.db.models import prefetch_related_objects
from django.http import HttpRequest
from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.credentials import challenges, known_devices
from accounts.credentials.known_devices import Device
from accounts.credentials.tokens import make_access_token, make_refresh_token
from accounts.models import Session
from accounts.serializers.accounts import UserSerializer
from core.http.client_address import client_address, client_network, network_prefix

REFRESH_COOKIE = "refresh" if settings.DEVELOPMENT else "__Host-refresh"
DEVICE_COOKIE = "device" if settings.DEVELOPMENT else "__Host-device"
SIGN_IN_COOKIE = "sign-in" if settings.DEVELOPMENT else "__Host-sign-in"
DEVICE_COOKIE_SECONDS = 365 * 24 * 3600
NO_STORE = {"Cache-Control": "no-store"}


def device_of(request: Request | HttpRequest) -> Device:
    """Return the device that sent a request."""
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


def set_refresh_cookie(response: Response, session: Session, token: str) -> Response:
    """Set the refresh cookie, which is the only place of the refresh token, and return the response."""
    return _set_cookie(
        response, REFRESH_COOKIE, token, int((session.expires_at - timezone.now()).total_seconds())
    )


def clear_refresh_cookie(response: Response) -> Response:
    """Delete the refresh cookie and return the response."""
    return _set_cookie(response, REFRESH_COOKIE, "", 0)


def authorization_response(authorization_url: str, cookie_secret: str) -> Response:
    """Return the response with a provider's authorization URL.

    Its cookie binds the flow to this browser.
    """
    seconds = int(challenges.CHALLENGE_LIFETIME.total_seconds())
    body = {"authorization_url": authorization_url, "expires_in": seconds}
    return _set_cookie(Response(body, headers=NO_STORE), SIGN_IN_COOKIE, cookie_secret, seconds)


def signed_in_response(request: Request, session: Session, *, status: int = 200) -> Response:
    """Return the response to a sign-in: access token, user, refresh cookie and device cookie."""
    user = session.user
    prefetch_related_objects([user], "roles")  # for the token and for the body
    access, expires_in = make_access_token(user, session)
    body = {"user": UserSerializer(user).data, "access": access, "expires_in": expires_in}
    response = Response(body, status=status, headers=NO_STORE)
    if session.impersonator_id is None:
        _set_cookie(
            response,
            DEVICE_COOKIE,
            known_devices.make_device_cookie(user, device_of(request)),
            DEVICE_COOKIE_SECONDS,
        )
    return set_refresh_cookie(response, session, make_refresh_token(session.pk, session.generation))
