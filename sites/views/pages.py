"""Where the link of an invitation leads when there is no front end."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe


@require_safe
def invitation_page(request: HttpRequest) -> HttpResponse:
    """The token comes after the # of the address, so no server and no referrer ever has it."""
    return render(request, "invitation.html", {"title": "You are invited"})
