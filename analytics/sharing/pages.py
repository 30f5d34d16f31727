"""HTML pages for people without an account: the dashboard behind a link, and the end of a weekly mail."""

from datetime import datetime
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

from analytics.errors import ReportTooSlow
from analytics.models import Share
from analytics.reports.dashboard import build_dashboard_context, parse_dashboard_state
from analytics.reports.filters import parse_conditions
from analytics.reports.sql_fragments import report_deadline
from analytics.sharing import links, weekly_mail
from audit import actors
from core import tenancy
from core.admission.costs import ExpensiveWorkBusy, TooManyAtOnce, expensive_work
from core.admission.rate_limits import LocalRateLimiter
from core.http.client_address import client_address, client_network
from core.storage.memory_cache import MemoryCache

COOKIE_NAME = "shared"
MAX_PASSWORD_CHARACTERS = 200
# For each client network, in one process: a burst of this many views, then one a second.
PAGE_VIEW_BURST = 60
PASSWORD_ATTEMPT_RATE = "10/m"  # of one client network at one link  # noqa: S105
PASSWORD_PROMPT = "This dashboard is protected by a password."  # noqa: S105
UNSUBSCRIBED_TITLE = "Weekly mail cancelled"

PAGE_SECONDS = 10.0  # for all reports of a page together
PAGE_LIFETIME_SECONDS = 15.0
PAGES_BYTES = 8 * 1024 * 1024

_page_view_limiter = LocalRateLimiter()
_pages: MemoryCache[tuple[UUID, str], bytes] = MemoryCache(PAGES_BYTES, size_of=len)


# CSRF protection is not needed: POST only sets a cookie in this browser, after the right password.
@csrf_exempt
@require_http_methods(["GET", "HEAD", "POST"])
def shared_dashboard_page(request: HttpRequest, token: str) -> HttpResponse:
    """The dashboard of a link. An unknown, an expired and a revoked link have the same 404 page."""
    share_id = links.parse_share_token(token)
    if share_id is None:
        return _link_invalid_page(request)
    network = client_network(client_address(request))
    if not _page_view_limiter.take(network, interval=1, burst=PAGE_VIEW_BURST).allowed:
        return _render(
            request,
            "Too many requests",
            429,
            message="You have opened this page many times. Try again in a minute.",
        )
    try:
        return _dashboard_response(request, share_id)
    except (OperationalError, ReportTooSlow):  # of one statement, and of the whole page
        return _render(
            request,
            "This report takes too long",
            503,
            message="Choose fewer days or fewer filters.",
        )
    except (TooManyAtOnce, ExpensiveWorkBusy) as error:
        response = _render(request, "One moment, please", 503, message="Try again in a few seconds.")
        response["Retry-After"] = error.headers["Retry-After"]
        return response


def _dashboard_response(request: HttpRequest, share_id: UUID) -> HttpResponse:
    now = timezone.now()
    with tenancy.context(tenancy.SYSTEM):
        share = links.find_valid_share(share_id, now=now)
        if share is None:
            return _link_invalid_page(request)
        if request.method == "POST":
            return _unlock(request, share)
        if not links.is_unlocked(share, request.COOKIES.get(COOKIE_NAME, "")):
            return _render(request, share.name, 401, password_prompt=PASSWORD_PROMPT)
        return _cached_dashboard(request, share, now=now)


def _cached_dashboard(request: HttpRequest, share: Share, *, now: datetime) -> HttpResponse:
    """Return the dashboard of a link and query string, at most `PAGE_LIFETIME_SECONDS` old."""
    key = (share.pk, request.GET.urlencode())
    html = _pages.get(key)
    if html is None:
        with expensive_work(request), report_deadline(PAGE_SECONDS):
            html = _pages.get(key)  # another request may have made it while this one waited
            if html is None:
                fixed_filters = parse_conditions(share)
                state = parse_dashboard_state(request, share.site, fixed_filters=fixed_filters, now=now)
                context = build_dashboard_context(state, share.site, now=now)
                html = _render(request, share.name, **context).content
                _pages.set(key, html, seconds=PAGE_LIFETIME_SECONDS)
    return _with_page_headers(HttpResponse(html))


def _unlock(request: HttpRequest, share: Share) -> HttpResponse:
    """Check the password and redirect to the dashboard with a cookie that proves it."""
    if _has_too_many_attempts(request, share):
        return _render(
            request,
            share.name,
            429,
            password_prompt=PASSWORD_PROMPT,
            error="Too many attempts. Wait a minute, then try again.",
        )
    password = request.POST.get("password", "")[:MAX_PASSWORD_CHARACTERS]
    if share.password and not links.password_matches(share, password):
        return _render(
            request,
            share.name,
            401,
            password_prompt=PASSWORD_PROMPT,
            error="This password is wrong.",
        )
    response = redirect(request.get_full_path())
    response.set_cookie(
        COOKIE_NAME,
        links.sign_unlock_cookie(share),
        max_age=links.COOKIE_LIFETIME,
        path=request.path,
        httponly=True,
        samesite="Lax",
        secure=settings.SESSION_COOKIE_SECURE,
    )
    response["Cache-Control"] = "no-store"
    return response


def _has_too_many_attempts(request: HttpRequest, share: Share) -> bool:
    """Count an attempt at the password, and return whether the limit of this network is exceeded.

    Attempts are allowed while Redis is unavailable: the password hash is slow, and the link itself is secret.
    """
    network = client_network(client_address(request))
    try:
        return bool(
            is_ratelimited(
                request,
                group="shared",
                key=lambda *_: f"{share.pk}:{network}",
                rate=PASSWORD_ATTEMPT_RATE,
                method="POST",
                increment=True,
            )
        )
    except RedisError:
        return False


# CSRF protection is not needed: the token authorises the request. Mail clients that support one-click
# unsubscription (RFC 8058) send no cookie.
@csrf_exempt
@require_http_methods(["GET", "HEAD", "POST"])
def unsubscribe_page(request: HttpRequest, token: str) -> HttpResponse:
    """The unsubscribe link of the weekly mail.

    GET only shows a button, because mail scanners open links; POST deletes the subscription.
    """
    with tenancy.context(tenancy.SYSTEM):
        subscription = weekly_mail.find_subscription_by_token(token)
        if subscription is None:
            return _render(
                request,
                UNSUBSCRIBED_TITLE,
                message="You are not subscribed to this mail.",
            )
        if request.method == "POST":
            weekly_mail.unsubscribe(subscription, actor=actors.ANONYMOUS)
            return _render(
                request,
                UNSUBSCRIBED_TITLE,
                message="You will not receive the weekly mail about this site any more.",
            )
        return _render(
            request,
            "Cancel the weekly mail?",
            message=f"You receive a mail about “{subscription.site.name}” every Monday.",
            button="Cancel the weekly mail",
        )


def _link_invalid_page(request: HttpRequest) -> HttpResponse:
    return _render(
        request,
        "This link is not valid",
        404,
        message="The link has expired or was revoked. Ask for a new one.",
    )


def _render(request: HttpRequest, title: str, status: int = 200, **context: object) -> HttpResponse:
    """Render the page. It is not cached or indexed, and its secret URL is not sent to other sites."""
    return _with_page_headers(
        render(request, "analytics/shared_page.html", {"title": title, **context}, status=status)
    )


def _with_page_headers(response: HttpResponse) -> HttpResponse:
    response["Cache-Control"] = "no-store"
    response["X-Robots-Tag"] = "noindex, nofollow"
    response["Referrer-Policy"] = "same-origin"
    return response
