from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import path
from drf_spectacular.views import SpectacularJSONAPIView, SpectacularSwaggerSplitView

from core import health


def home(request: HttpRequest) -> HttpResponse:
    """A signpost for people who open the bare host in a browser."""
    return render(request, "home.html")


urlpatterns = [
    path("", home),
    path("health", health.health),
    path("health/live", health.live),
    path("health/ready", health.ready),
    path("api/schema", SpectacularJSONAPIView.as_view(), name="schema"),
    path("api/docs", SpectacularSwaggerSplitView.as_view(url_name="schema"), name="docs"),
]
