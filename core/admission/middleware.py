"""The admission middleware: refuses API requests, and answers them from the cache, before any view.

In a web process `core.admission.api_server` has done so already; what it passes on carries its result.
"""

from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from core import error_events
from core.admission import cached_responses
from core.admission.admission import ADMISSION, PRINCIPAL, admit
from core.admission.costs import SlowRequests, TooManyAtOnce
from core.errors import DomainError, Unavailable
from core.http.problems import problem_of
from core.http.routes import API_PREFIX


class AdmissionMiddleware:
    """Sets `request.principal` and `request.admission`, and adds the `RateLimit-*` headers."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response
        self.slow_requests = SlowRequests(max(1, settings.ENV.web_threads - 1))

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if not request.path.startswith(API_PREFIX):
            return self.get_response(request)
        request.path_info = request.path = request.path_info.rstrip("/")
        try:
            admission = request.META.get(ADMISSION) or admit(request.META)
        except DomainError as error:
            return refuse(request, error)
        request.principal = admission.principal  # type: ignore[attr-defined]
        request.admission = admission  # type: ignore[attr-defined]
        response: HttpResponseBase
        if admission.cached_body:
            status, headers, body = cached_responses.cached_answer(
                request.META, admission.cached_body, admission.tag
            )
            response = HttpResponse(body, status=status, headers={**headers, **admission.rate_limit.headers})
            if "Content-Type" not in headers:
                del response.headers["Content-Type"]
            return response
        try:
            with self.slow_requests.track(admission.caller):
                response = self.get_response(request)
        except TooManyAtOnce as error:
            return refuse(request, error)
        cached_responses.store_response(response, body_key=admission.body_key, tag_value=admission.tag_value)
        for name, value in admission.rate_limit.headers.items():
            response.headers.setdefault(name, value)
        return response


def refuse(request: HttpRequest, error: DomainError) -> HttpResponse:
    """Return the problem response of a refusal, and publish it to `core.error_events`."""
    request.principal = request.META.get(PRINCIPAL)  # type: ignore[attr-defined]
    if error.status != Unavailable.status:
        error_events.publish(request, error)
    return problem_of(error)
