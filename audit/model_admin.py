"""Base classes of model admins: read-only pages, and pages whose opening is recorded."""

from typing import Any, cast

from django.contrib import admin
from django.http import HttpRequest, HttpResponse

from audit import actors
from audit.services import record
from audit.subjects import HasSubject, Subject


class ReadOnlyAdmin(admin.ModelAdmin):
    """An admin without add, change and delete."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class AuditedAdmin:
    """Mixin for admins of customer data: opening a row is recorded in the audit trail with its viewer."""

    def subject_of(self, obj: Any) -> HasSubject | Subject:
        """Return the subject of the audit entry. Override it for rows without `as_subject`."""
        return cast(HasSubject, obj)

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, obj: Any = None, **kwargs: Any
    ) -> HttpResponse:
        if request.method == "GET" and obj is not None:
            record("admin.viewed", actor=actors.staff(request.user), subject=self.subject_of(obj))
        response: HttpResponse = super().render_change_form(  # type: ignore[misc]
            request, context, *args, obj=obj, **kwargs
        )
        return response
