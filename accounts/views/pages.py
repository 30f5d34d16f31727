"""Where links in mails lead when there is no front end: one small page over the API."""

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

PAGES = {
    "verify-email": ("Confirm your address", "Confirm"),
    "forgot-password": ("Forgot your password?", "Mail me a link"),
    "reset-password": ("Choose a new password", "Use this password"),
    "restore-account": ("Open your account again", "Open it again"),
    "impersonate": ("Act as a customer", "Begin"),
}


@require_safe
def account_page(request: HttpRequest, page: str) -> HttpResponse:
    """The token comes after the # of the address, so no server and no referrer ever has it."""
    if page not in PAGES:
        raise Http404
    title, action = PAGES[page]
    blind = page == "reset-password" and request.GET.get("scheme") == "blind"
    return render(request, "account.html", {"page": page, "title": title, "action": action, "blind": blind})


@require_safe
def provider_page(request: HttpRequest, provider: str) -> HttpResponse:
    """Where a provider sends the browser back to when there is no front end."""
    known = settings.OIDC_PROVIDERS.get(provider)
    if known is None:
        raise Http404
    facts = {"page": "oidc", "provider": provider, "title": f"Sign in with {known.label}", "action": "Go on"}
    return render(request, "account.html", facts)
