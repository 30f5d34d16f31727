"""URLs of core: the home page, the health endpoints and the OpenAPI document."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import path
from drf_spectacular.views import SpectacularJSONAPIView, SpectacularSwaggerSplitView

from core.observability import health

FAVICON_SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 64 64">'
    '<rect width="64" height="64" rx="14" fill="#0b5cad"/>'
    '<path d="M18 22h28v6H18zm0 12h28v6H18z" fill="#fff"/></svg>'
)


def home(request: HttpRequest) -> HttpResponse:
    """A page of links, for visitors who open the application host in a browser."""
    return render(request, "home.html")


def favicon(request: HttpRequest) -> HttpResponse:
    """The icon that browsers request from every host."""
    return HttpResponse(
        FAVICON_SVG, content_type="image/svg+xml", headers={"Cache-Control": "public, max-age=86400"}
    )


urlpatterns = [
    path("favicon.ico", favicon),
    path("", home),
    path("health", health.health),
    path("health/live", health.live),
    path("health/ready", health.ready),
    path("api/schema", SpectacularJSONAPIView.as_view(), name="schema"),
    path("api/docs", SpectacularSwaggerSplitView.as_view(url_name="schema"), name="docs"),
]
