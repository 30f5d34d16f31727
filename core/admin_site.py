"""The admin: every page runs in the `system` context and is rendered inside it; its sign-in form is rate
limited.
"""

from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any

from django.conf import settings
from django.contrib.admin import AdminSite, ModelAdmin
from django.contrib.auth.forms import PasswordChangeForm
from django.contrib.auth.views import PasswordChangeView
from django.core.exceptions import ObjectDoesNotExist, ValidationError
from django.db import DataError
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import URLPattern, reverse
from django.utils.decorators import method_decorator
from django_ratelimit.core import is_ratelimited
from redis import RedisError

from core import tenancy
from core.errors import DomainError
from core.http.client_address import client_address, client_network

View = Callable[..., HttpResponseBase]


def _network(group: str, request: HttpRequest) -> str:
    return client_network(client_address(request))


def _rate(group: str, request: HttpRequest) -> str:
    return f"{settings.ADMIN_LOGIN_ATTEMPTS}/m"


def limit_login_attempts(view: View) -> View:
    """Refuse the POSTs of one network past ADMIN_LOGIN_ATTEMPTS a minute. Redis away lets people in."""

    @wraps(view)
    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        try:
            refused = is_ratelimited(
                request, group="admin-login", key=_network, rate=_rate, method="POST", increment=True
            )
        except RedisError:
            refused = False
        if refused:
            text = "Too many attempts. Wait a minute, then try again.\n"
            return HttpResponse(
                text, status=429, content_type="text/plain; charset=utf-8", headers={"Retry-After": "60"}
            )
        return view(request, *args, **kwargs)

    return guarded


def _told(refusal: DomainError) -> HttpResponse:
    """A refusal that no form could show."""
    text = f"{refusal.message}\n"
    return HttpResponse(
        text, status=refusal.status, content_type="text/plain; charset=utf-8", headers=refusal.headers
    )


def for_each_row(
    window: ModelAdmin, request: HttpRequest, rows: Iterable[Any], act: Callable[[Any], Any], done: str
) -> None:
    """A button over many rows: `act` on each, its refusals told by row, and how many it was `done` to."""
    count = 0
    for row in rows:
        try:
            act(row)
            count += 1
        except DomainError as refusal:
            window.message_user(request, f"{row}: {refusal.message}", level="error")
        except ObjectDoesNotExist:
            window.message_user(request, f"{row}: deleted, so this was not done.", level="error")
    window.message_user(request, f"{done} {count} {window.opts.verbose_name_plural}.")


class PlatformAdminSite(AdminSite):
    site_header = site_title = "Getyousite"
    index_title = "Administration"
    site_url = None
    enable_nav_sidebar = True
    password_change_form: type[PasswordChangeForm] = PasswordChangeForm
    # Filled in by whoever owns accounts: what stands before every page, and what follows a sign-in.
    barrier: Callable[[HttpRequest], HttpResponseBase | None] = staticmethod(lambda request: None)
    welcome: Callable[[HttpRequest, HttpResponseBase], None] = staticmethod(lambda request, response: None)

    more_urls: list[URLPattern] = []

    def get_urls(self) -> list[Any]:
        return [*self.more_urls, *super().get_urls()]

    def admin_view(self, view: View, cacheable: bool = False) -> View:  # type: ignore[override]
        @wraps(view)
        def inside(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            try:
                with tenancy.context(tenancy.SYSTEM):
                    if stopped := self.barrier(request):
                        return stopped
                    response = view(request, *args, **kwargs)
                    if isinstance(response, TemplateResponse):
                        response.render()
                    return response
            except DomainError as refusal:
                return _told(refusal)
            except (DataError, OverflowError, ValueError, ValidationError):  # a filter or an id that is none
                text = "This address or form is not valid. Go back and try again.\n"
                return HttpResponse(text, status=400, content_type="text/plain; charset=utf-8")

        return super().admin_view(inside, cacheable)

    @method_decorator(limit_login_attempts)
    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        try:
            response = super().login(request, extra_context)
        except DomainError as refusal:
            return _told(refusal)
        if request.method == "POST" and request.user.is_authenticated:
            self.welcome(request, response)
        return response

    def password_change(  # type: ignore[override]
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponseBase:
        """As Django's, with the form of whoever owns passwords: it must end sessions too."""
        view = PasswordChangeView.as_view(
            form_class=self.password_change_form,
            success_url=reverse("admin:password_change_done", current_app=self.name),
            template_name="registration/password_change_form.html",
            extra_context={**self.each_context(request), **(extra_context or {})},
        )
        return view(request)
