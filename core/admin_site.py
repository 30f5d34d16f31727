"""The admin site. Every page runs in tenancy context `system`, and the sign-in form is rate limited.

The accounts app sets the hooks of `PlatformAdminSite` in its `AppConfig.ready()`.
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
from core.storage.postgresql.base import statement_time_limit

STATEMENT_SECONDS = 30.0  # searches of staff go through the rows of all customers

View = Callable[..., HttpResponseBase]


def _rate_limit_key(group: str, request: HttpRequest) -> str:
    return client_network(client_address(request))


def _rate_limit(group: str, request: HttpRequest) -> str:
    return f"{settings.ADMIN_LOGIN_ATTEMPTS}/m"


def limit_login_attempts(view: View) -> View:
    """Answer 429 to the POSTs of a client network after ADMIN_LOGIN_ATTEMPTS in a minute.

    When Redis is unavailable, there is no limit.
    """

    @wraps(view)
    def limited_view(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        try:
            is_limited = is_ratelimited(
                request,
                group="admin-login",
                key=_rate_limit_key,
                rate=_rate_limit,
                method="POST",
                increment=True,
            )
        except RedisError:
            is_limited = False
        if is_limited:
            return _plain_text_response(
                "Too many attempts. Wait a minute, then try again.",
                status=429,
                headers={"Retry-After": "60"},
            )
        return view(request, *args, **kwargs)

    return limited_view


def _plain_text_response(text: str, *, status: int, headers: dict[str, str] | None = None) -> HttpResponse:
    return HttpResponse(f"{text}\n", status=status, content_type="text/plain; charset=utf-8", headers=headers)


def _error_response(error: DomainError) -> HttpResponse:
    """Return an error as plain text, for errors that no form can show."""
    return _plain_text_response(error.message, status=error.status, headers=error.headers)


def for_each_row(
    model_admin: ModelAdmin,
    request: HttpRequest,
    rows: Iterable[Any],
    action: Callable[[Any], Any],
    done: str,
) -> None:
    """Run an admin action: call `action` with each row, and show messages about the results.

    Each row whose call raised a DomainError gets a message. The last message counts the others: `done`, such
    as "Disabled", and their number.
    """
    count = 0
    for row in rows:
        try:
            action(row)
            count += 1
        except DomainError as error:
            model_admin.message_user(request, f"{row}: {error.message}", level="error")
        except ObjectDoesNotExist:
            message = f"{row}: it was deleted in the meantime, so nothing was changed."
            model_admin.message_user(request, message, level="error")
    model_admin.message_user(request, f"{done} {count} {model_admin.opts.verbose_name_plural}.")


class PlatformAdminSite(AdminSite):
    """Django's admin site with tenancy contexts, a rate limit and hooks for the accounts app."""

    site_header = "Getyousite"
    site_title = "Getyousite"
    index_title = "Administration"
    site_url = None
    enable_nav_sidebar = True

    # Hooks for the accounts app, which core does not import.
    password_change_form: type[PasswordChangeForm] = PasswordChangeForm
    # Called before every page; a response, such as a redirect to the second factor, replaces the page.
    before_page: Callable[[HttpRequest], HttpResponseBase | None] = staticmethod(lambda request: None)
    # Called after a successful sign-in; it may set cookies on the response.
    after_login: Callable[[HttpRequest, HttpResponseBase], None] = staticmethod(
        lambda request, response: None
    )
    extra_urls: list[URLPattern] = []

    def get_urls(self) -> list[Any]:
        return [*self.extra_urls, *super().get_urls()]

    def admin_view(self, view: View, cacheable: bool = False) -> View:  # type: ignore[override]
        """Wrap a view as Django does, and run it in tenancy context `system`.

        The response is rendered inside the context, because templates run queries. Errors become plain text.
        """

        @wraps(view)
        def view_in_system_context(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            try:
                with statement_time_limit(STATEMENT_SECONDS), tenancy.context(tenancy.SYSTEM):
                    if replacement := self.before_page(request):
                        return replacement
                    response = view(request, *args, **kwargs)
                    if isinstance(response, TemplateResponse):
                        response.render()
                    return response
            except DomainError as error:
                return _error_response(error)
            except (DataError, OverflowError, ValueError, ValidationError):
                # A filter or an id in the URL has an invalid value.
                return _plain_text_response(
                    "This address or form is not valid. Go back and try again.", status=400
                )

        return super().admin_view(view_in_system_context, cacheable)

    @method_decorator(limit_login_attempts)
    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        try:
            response = super().login(request, extra_context)
        except DomainError as error:
            return _error_response(error)
        if request.method == "POST" and request.user.is_authenticated:
            self.after_login(request, response)
        return response

    def password_change(  # type: ignore[override]
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponseBase:
        """Like Django's view, with `password_change_form`, which also ends the user's sessions."""
        view = PasswordChangeView.as_view(
            form_class=self.password_change_form,
            success_url=reverse("admin:password_change_done", current_app=self.name),
            template_name="registration/password_change_form.html",
            extra_context={**self.each_context(request), **(extra_context or {})},
        )
        return view(request)
