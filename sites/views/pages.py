"""HTML pages that are used when no front end is configured."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe


@require_safe
def invitation_page(request: HttpRequest) -> HttpResponse:
    """Render the page that a mailed invitation links to.

    The token is in the fragment of the URL, which browsers send neither to a server nor as a referrer.
    """
    return render(request, "invitation.html", {"title": "You are invited"})
