"""The WSGI application between the site server and Django: what it answers runs no middleware and no view.

It answers `/health`, refusals, and reads whose response is in Redis (`core.admission.cached_responses`). All
other requests go to Django, together with the result of admission. docs/performance.md draws the way.
"""

from collections.abc import Callable, Iterable
from functools import cached_property
from http import HTTPStatus
from typing import Any

from django.conf import settings
from django.core.handlers.wsgi import WSGIRequest
from django.http import HttpRequest, HttpResponse
from django.utils.module_loading import import_string

from core.admission.admission import PRINCIPAL, AdmissionResult, Environ, admit
from core.admission.cached_responses import cached_answer
from core.admission.middleware import refuse
from core.errors import DomainError
from core.http.routes import API_PREFIX
from core.observability import health, request_log

App = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]
Answer = tuple[int, dict[str, str], bytes]
STATUS_LINES = {status.value: f"{status.value} {status.phrase}" for status in HTTPStatus}
ADMISSION_MIDDLEWARE = "core.admission.middleware.AdmissionMiddleware"
PATH_KINDS = ("/api/v1/public/", API_PREFIX)
MAX_REMEMBERED_HEADERS = 1024
MAX_REMEMBERED_CHARACTERS = 300


class ApiServer:
    """The WSGI application of the application host. `app` is Django's."""

    def __init__(self, app: App) -> None:
        self.app = app
        self._outer_headers: dict[tuple[str, ...], dict[str, str]] = {}

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        answer = self.answer(environ)
        if answer is None:
            return self.app(environ, start_response)
        status, headers, body = answer
        start_response(STATUS_LINES[status], list(headers.items()))
        return [body]

    def answer(self, environ: Environ) -> Answer | None:
        """Return the answer to a request, or None when Django must answer it."""
        path: str = environ["PATH_INFO"]
        is_health = path == "/health" and environ["REQUEST_METHOD"] == "GET"
        # Django's middleware answers preflight requests, which skip admission.
        if not is_health and (not path.startswith(API_PREFIX) or environ["REQUEST_METHOD"] == "OPTIONS"):
            return None
        outer_headers = self.outer_headers(environ)
        if outer_headers is None:
            return None
        request_id = request_log.start_request(environ)
        route, answer = ("health", health.health_answer()) if is_health else self._admit(environ)
        if answer is None:
            return None
        status, headers, body = answer
        headers = {**outer_headers, **headers, "X-Request-ID": request_id}
        if status != HTTPStatus.NOT_MODIFIED:
            headers["Content-Length"] = str(len(body))
        request_log.finish_request(environ, route, status, principal=environ.get(PRINCIPAL))
        return status, headers, body

    def _admit(self, environ: Environ) -> tuple[str, Answer | None]:
        """Return the name of the route in logs, and the answer unless Django must give it."""
        try:
            admission: AdmissionResult = admit(environ)
        except DomainError as error:
            response = refuse(WSGIRequest({**environ}), error)  # it changes PATH_INFO in the environ
            return "none", (response.status_code, dict(response.items()), response.content)
        except Exception:  # noqa: BLE001 - Django admits the request again, and handles what that raises
            return "", None
        if not admission.cached_body:
            return "", None
        status, headers, body = cached_answer(environ, admission.cached_body, admission.tag)
        return "kept", (status, {**headers, **admission.rate_limit.headers}, body)

    def outer_headers(self, environ: Environ) -> dict[str, str] | None:
        """Return the headers that the middleware outside of admission adds to every answer of this kind.

        They depend on the scheme, the host, the origin, and on whether the path is in the API, and in the
        public one. None when that middleware answers by itself, for example with a redirect to HTTPS.
        """
        key = (
            environ["wsgi.url_scheme"],
            environ.get("HTTP_X_FORWARDED_PROTO", ""),
            environ.get("HTTP_ORIGIN", ""),
            environ.get("HTTP_HOST", ""),
            next((prefix for prefix in PATH_KINDS if environ["PATH_INFO"].startswith(prefix)), ""),
        )
        headers = self._outer_headers.get(key)
        if headers is None:
            response = self._outer_middleware(WSGIRequest({**environ}))
            if not isinstance(response, _InnerResponse):
                return None
            headers = {name: value for name, value in response.items() if name != "Content-Type"}
            if len(self._outer_headers) >= MAX_REMEMBERED_HEADERS:
                self._outer_headers.clear()
            if sum(map(len, key)) <= MAX_REMEMBERED_CHARACTERS:
                self._outer_headers[key] = headers
        return headers

    @cached_property
    def _outer_middleware(self) -> Callable[[HttpRequest], HttpResponse]:
        """The middleware between the request log and admission, around an empty response."""
        chain: Callable[[HttpRequest], Any] = lambda request: _InnerResponse()  # noqa: E731
        end = settings.MIDDLEWARE.index(ADMISSION_MIDDLEWARE)
        for path in reversed(settings.MIDDLEWARE[1:end]):
            chain = import_string(path)(chain)
        return chain


class _InnerResponse(HttpResponse):
    """Stands for the response that admission or a view would give."""
