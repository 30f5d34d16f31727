"""Sessions in the admin: read-only, with an action that ends them."""

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone

from accounts.models import Session
from accounts.services import sessions
from audit import actors
from audit.model_admin import AuditedAdmin, ReadOnlyAdmin


@admin.register(Session)
class SessionAdmin(AuditedAdmin, ReadOnlyAdmin):
    list_display = (
        "user",
        "agent",
        "network",
        "created_at",
        "rotated_at",
        "expires_at",
        "revoked_at",
        "impersonator",
    )
    list_filter = (
        ("revoked_at", admin.EmptyFieldListFilter),
        ("impersonator", admin.EmptyFieldListFilter),
        "created_at",
    )
    list_select_related = ("user", "impersonator")
    search_fields = ("user__email", "agent", "network")
    actions = ["revoke"]

    def has_change_state_permission(self, request: HttpRequest) -> bool:
        """Django calls this for actions with the permission `change_state`."""
        return request.user.has_perm("accounts.change_session")

    @admin.action(description="Revoke", permissions=["change_state"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[Session]) -> None:
        actor = actors.staff(request.user)
        count = 0
        for session in queryset:
            ended = sessions.end_sessions(session.user_id, [session.pk], actor=actor, now=timezone.now())
            count += len(ended)
        self.message_user(request, f"Revoked {count} sessions.")
