"""Where links in mails lead when there is no front end: one small page over the API."""

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

PAGES = {
    "verify-email": ("Confirm your address", "Confirm"),
    "forgot-password": ("Forgot your password?", "Mail me a link"),
    "reset-password": ("Choose a new password", "Use this password"),
}


@require_safe
def account_page(request: HttpRequest, page: str) -> HttpResponse:
    """The token comes after the # of the address, so no server and no referrer ever has it."""
    if page not in PAGES:
        raise Http404
    title, action = PAGES[page]
    blind = page == "reset-password" and request.GET.get("scheme") == "blind"
    return render(request, "account.html", {"page": page, "title": title, "action": action, "blind": blind})
