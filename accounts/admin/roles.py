"""Roles in the admin: read-only. Django's groups are not used."""

from django.contrib import admin
from django.contrib.auth.models import Group

from accounts.models import Role
from audit.model_admin import ReadOnlyAdmin

admin.site.unregister(Group)


@admin.register(Role)
class RoleAdmin(ReadOnlyAdmin):
    list_display = ("name", "built_in", "permission_count")
    search_fields = ("name",)

    @admin.display(description="permissions")
    def permission_count(self, role: Role) -> int:
        return len(role.permissions)
