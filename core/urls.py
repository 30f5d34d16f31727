from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import path
from drf_spectacular.views import SpectacularJSONAPIView, SpectacularSwaggerSplitView

from core.observability import health


def home(request: HttpRequest) -> HttpResponse:
    """A signpost for people who open the bare host in a browser."""
    return render(request, "home.html")


def icon(request: HttpRequest) -> HttpResponse:
    """What browsers ask every host for."""
    drawing = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 64 64"><rect width="64" height="64" rx="14" fill="#0b5cad"/><path d="M18 22h28v6H18zm0 12h28v6H18z" fill="#fff"/></svg>'
    return HttpResponse(
        drawing, content_type="image/svg+xml", headers={"Cache-Control": "public, max-age=86400"}
    )


urlpatterns = [
    path("favicon.ico", icon),
    path("", home),
    path("health", health.health),
    path("health/live", health.live),
    path("health/ready", health.ready),
    path("api/schema", SpectacularJSONAPIView.as_view(), name="schema"),
    path("api/docs", SpectacularSwaggerSplitView.as_view(url_name="schema"), name="docs"),
]
