"""Pages for people without an account: a site's numbers behind a link, and the end of a weekly mail."""

from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import OperationalError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods
from django_ratelimit.core import is_ratelimited
from redis import RedisError

from analytics.models import Share
from analytics.reports import dashboard
from analytics.reports.filters import conditions_of
from analytics.sharing import links
from audit import actors
from core import tenancy
from core.admission.rate_limits import LocalRateLimiter
from core.http.client_address import client_address, client_network

COOKIE = "shared"
GONE: dict[str, Any] = {
    "title": "No numbers here",
    "status": 404,
    "said": "The link has expired or was revoked. Ask for a new one.",
}
LOOKS = 60  # at once, of one network in one process; then one a second
_looks = LocalRateLimiter()
ATTEMPTS = "10/m"  # passwords that one network may try at one link


# Nothing is changed but what this browser may read, and a password that is not known cannot be forged.
@csrf_exempt
@require_http_methods(["GET", "HEAD", "POST"])
def shared_page(request: HttpRequest, token: str) -> HttpResponse:
    """The dashboard of a link. What is unknown, expired or revoked is the same 404."""
    pk = links.read_link(token)
    if pk is None:
        return _page(request, **GONE)
    if not _looks.take(client_network(client_address(request)), interval=1, burst=LOOKS).allowed:
        return _page(request, "One moment", 429, said="That was much at once. Look again in a minute.")
    try:
        return _shown(request, pk)
    except OperationalError:
        return _page(
            request,
            "Too much at once",
            503,
            said="This takes too long. Ask for fewer days, or for fewer filters.",
        )


def _shown(request: HttpRequest, pk: UUID) -> HttpResponse:
    now = timezone.now()
    with tenancy.context(tenancy.SYSTEM):
        row = links.find(pk, now=now)
        if row is None:
            return _page(request, **GONE)
        if request.method == "POST":
            return _unlock(request, row)
        if not links.proven(row, request.COOKIES.get(COOKIE, "")):
            return _page(request, row.name, 401, asks="These numbers are behind a password.")
        asked = dashboard.read(request, row.site, frozen=conditions_of(row), now=now)
        return _page(request, row.name, **dashboard.dashboard(asked, row.site, now=now))


def _unlock(request: HttpRequest, row: Share) -> HttpResponse:
    if _too_often(request, row):
        told = {
            "asks": "These numbers are behind a password.",
            "wrong": "Too many attempts. Wait a minute, then try again.",
        }
        return _page(request, row.name, 429, **told)
    if row.password and not links.opens(row, request.POST.get("password", "")[:200]):
        told = {"asks": "These numbers are behind a password.", "wrong": "That is not the password."}
        return _page(request, row.name, 401, **told)
    answer = redirect(request.get_full_path())
    answer.set_cookie(
        COOKIE,
        links.proof(row),
        max_age=links.OPEN_FOR,
        path=request.path,
        httponly=True,
        samesite="Lax",
        secure=settings.SESSION_COOKIE_SECURE,
    )
    answer["Cache-Control"] = "no-store"
    return answer


def _too_often(request: HttpRequest, row: Share) -> bool:
    """Redis away lets people try: the password is hashed slowly, and the link is a secret of its own."""
    network = client_network(client_address(request))
    try:
        return bool(
            is_ratelimited(
                request,
                group="shared",
                key=lambda *_: f"{row.pk}:{network}",
                rate=ATTEMPTS,
                method="POST",
                increment=True,
            )
        )
    except RedisError:
        return False


@csrf_exempt  # the token is the right to do it, and a mail client that follows RFC 8058 has no cookie
@require_http_methods(["GET", "HEAD", "POST"])
def stop_page(request: HttpRequest, token: str) -> HttpResponse:
    """No more mails about a site.

    Looking does nothing, since programs open links in mails; the button does.
    """
    with tenancy.context(tenancy.SYSTEM):
        row = links.find_subscription(token)
        if row is None:
            return _page(request, "No more mails", said="There are none, or you have stopped them before.")
        if request.method == "POST":
            links.unsubscribe(row, actor=actors.ANONYMOUS)
            return _page(
                request, "No more mails", said="You will get no more mails about this site on Mondays."
            )
        return _page(
            request,
            "No more mails?",
            said=f"Every Monday you get a mail about “{row.site.name}”.",
            act="Stop them",
        )


def _page(request: HttpRequest, title: str, status: int = 200, **facts: Any) -> HttpResponse:
    """Never kept, never indexed, and its address, which is the key, goes to nobody else."""
    answer = render(request, "analytics/shared.html", {"title": title, **facts}, status=status)
    answer["Cache-Control"] = "no-store"
    answer["X-Robots-Tag"] = "noindex, nofollow"
    answer["Referrer-Policy"] = "same-origin"
    return answer
