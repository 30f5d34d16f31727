"""HTML pages for the links in mails, for installations without a front end. JavaScript calls the API."""

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from accounts.models import User

PAGES = {
    "verify-email": ("Confirm your address", "Confirm"),
    "forgot-password": ("Forgot your password?", "Send me a link"),
    "reset-password": ("Choose a new password", "Use this password"),
    "restore-account": ("Restore your account", "Restore"),
    "impersonate": ("Act as a customer", "Start"),
}


@require_safe
def account_page(request: HttpRequest, page: str) -> HttpResponse:
    """Show the page of a mailed link. The token is in the URL fragment, which browsers do not send."""
    if page not in PAGES:
        raise Http404
    title, action = PAGES[page]
    zero_knowledge = page == "reset-password" and request.GET.get("scheme") == User.Scheme.ZERO_KNOWLEDGE
    context = {"page": page, "title": title, "action": action, "zero_knowledge": zero_knowledge}
    return render(request, "account.html", context)


@require_safe
def data_export_page(request: HttpRequest) -> HttpResponse:
    """Show the page of a mailed link to a data export, where its owner signs in and downloads it."""
    return render(request, "data_export.html", {"title": "Download your data"})


@require_safe
def provider_page(request: HttpRequest, provider: str) -> HttpResponse:
    """Show the page to which an OpenID Connect provider redirects the browser."""
    config = settings.OIDC_PROVIDERS.get(provider)
    if config is None:
        raise Http404
    context = {
        "page": "oidc",
        "provider": provider,
        "title": f"Sign in with {config.label}",
        "action": "Continue",
    }
    return render(request, "account.html", context)
