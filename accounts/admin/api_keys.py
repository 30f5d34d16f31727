"""API keys in the admin: read-only, with an action that revokes."""

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone

from accounts.models import ApiKey
from accounts.services import api_keys
from audit import actors
from audit.model_admin import AuditedAdmin, ReadOnlyAdmin
from core.admin_site import for_each_row


@admin.register(ApiKey)
class ApiKeyAdmin(AuditedAdmin, ReadOnlyAdmin):
    list_display = ("label", "owner", "prefix", "created_at", "last_used_at", "expires_at", "revoked_at")
    list_filter = (("revoked_at", admin.EmptyFieldListFilter), "created_at")
    list_select_related = ("owner",)
    search_fields = ("owner__email", "label", "prefix")
    exclude = ("digest",)
    actions = ["revoke"]

    def has_change_state_permission(self, request: HttpRequest) -> bool:
        """Django calls this for actions with the permission `change_state`."""
        return request.user.has_perm("accounts.change_apikey")

    @admin.action(description="Revoke", permissions=["change_state"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> None:
        for_each_row(
            self,
            request,
            queryset.filter(revoked_at=None),
            lambda key: api_keys.revoke_api_key(key.pk, actor=actors.staff(request.user), now=timezone.now()),
            "Revoked",
        )
