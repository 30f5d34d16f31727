"""URLs of core: the home page, the health endpoints and the OpenAPI document."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import path
from django.views.decorators.http import require_safe
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.renderers import OpenApiJsonRenderer
from drf_spectacular.views import SpectacularSwaggerSplitView

from core.http.rendered_documents import RenderedDocument
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


def render_openapi() -> bytes:
    """Return the OpenAPI document as JSON."""
    document = SchemaGenerator().get_schema(request=None, public=True)
    rendered: bytes = OpenApiJsonRenderer().render(document, renderer_context={})
    return rendered


openapi_document = RenderedDocument(
    render_openapi, content_type="application/vnd.oai.openapi+json", cache_control="public, max-age=300"
)

urlpatterns = [
    path("favicon.ico", favicon),
    path("", home),
    path("health", health.health),
    path("health/live", health.live),
    path("health/ready", health.ready),
    path("api/schema", require_safe(openapi_document), name="schema"),
    path("api/docs", SpectacularSwaggerSplitView.as_view(url_name="schema"), name="docs"),
]
