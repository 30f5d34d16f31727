"""Users in the admin: profile, roles, actions, and impersonation."""

from typing import Any, cast
from uuid import UUID

from django.contrib import admin
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import Model, QuerySet
from django.forms import CharField, Form, ModelForm, Textarea
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.template.defaultfilters import filesizeformat
from django.template.response import TemplateResponse
from django.urls import path
from django.utils import timezone

from accounts.admin.permissions import permissions_of_staff
from accounts.errors import LastAdmin, PermissionsExceeded
from accounts.models import ApiKey, Identity, Role, Session, User
from accounts.permissions import USERS_IMPERSONATE
from accounts.selectors import factors_of
from accounts.services import impersonation, mfa, roles, sessions
from accounts.services import users as users_services
from audit import actors
from audit.model_admin import AuditedAdmin
from core import quotas
from core.admin_site import for_each_row
from core.http.preconditions import ANY_VERSION


class ImpersonationForm(Form):
    reason = CharField(
        max_length=300,
        widget=Textarea(attrs={"rows": 3}),
        help_text="The owner gets a mail with this reason now.",
    )


class ReadOnlyInline(admin.TabularInline):
    """Rows of a user that the admin shows and does not change."""

    extra = 0
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


class SessionInline(ReadOnlyInline):
    model = Session
    fields = readonly_fields = (
        "created_at",
        "agent",
        "network",
        "rotated_at",
        "expires_at",
        "revoked_at",
        "impersonator",
    )
    fk_name = "user"
    verbose_name_plural = "sessions"


class ApiKeyInline(ReadOnlyInline):
    model = ApiKey
    fields = readonly_fields = (
        "label",
        "prefix",
        "scopes",
        "created_at",
        "last_used_at",
        "expires_at",
        "revoked_at",
    )
    verbose_name_plural = "API keys"


class IdentityInline(ReadOnlyInline):
    model = Identity
    fields = readonly_fields = ("provider", "issuer", "created_at", "last_used_at")
    verbose_name_plural = "sign-in providers"


class UserForm(ModelForm):
    def clean(self) -> dict[str, Any]:
        """Refuse changes that would leave no active administrator, before anything is saved."""
        cleaned_data = super().clean() or self.cleaned_data
        role_names = {role.name for role in cleaned_data.get("roles", [])}
        remains_admin = cleaned_data.get("is_active") and roles.ADMIN_ROLE in role_names
        try:
            if not remains_admin:
                roles.require_another_admin(self.instance.pk)
        except LastAdmin as refusal:
            raise ValidationError(refusal.message) from None
        return cleaned_data


@admin.register(User)
class UserAdmin(AuditedAdmin, admin.ModelAdmin):
    list_display = ("email", "name", "role_names", "is_active", "created_at", "deleted_at")
    list_filter = ("is_active", "roles", ("deleted_at", admin.EmptyFieldListFilter), "created_at")
    search_fields = ("email", "name", "id")
    ordering = ("-id",)
    fields = (
        "email",
        "email_verified_at",
        "scheme",
        "name",
        "age",
        "is_active",
        "roles",
        "second_factors",
        "quota_mib",
        "storage_used",
    )
    readonly_fields = ("email", "email_verified_at", "scheme", "second_factors", "storage_used")
    filter_horizontal = ("roles",)
    form = UserForm
    inlines = [SessionInline, ApiKeyInline, IdentityInline]
    actions = ["sign_out", "disable", "enable", "reset_factors", "soft_delete", "restore"]
    change_form_template = "admin/user.html"

    def get_urls(self) -> list[Any]:
        impersonate_url = path(
            "<uuid:pk>/impersonate/",
            self.admin_site.admin_view(self.impersonate),
            name="accounts_user_impersonate",
        )
        return [impersonate_url, *super().get_urls()]

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        may_impersonate = cast(User, request.user).may(USERS_IMPERSONATE)
        context = {**(extra_context or {}), "may_impersonate": may_impersonate}
        return super().change_view(request, object_id, form_url, context)

    def impersonate(self, request: HttpRequest, pk: UUID) -> HttpResponse:
        """Ask for a reason, then show the link that opens a session as this user."""
        staff = cast(User, request.user)
        user = get_object_or_404(User.objects.alive(), pk=pk)
        if not staff.may(USERS_IMPERSONATE):
            raise PermissionDenied
        form = ImpersonationForm(request.POST or None)
        link = ""
        if request.method == "POST" and form.is_valid():
            link = impersonation.begin_impersonation(
                pk, staff=staff, reason=form.cleaned_data["reason"], now=timezone.now()
            )
        context = {
            **self.admin_site.each_context(request),
            "title": f"Act as {user}",
            "form": form,
            "link": link,
            "user_pk": pk,
            "opts": self.opts,
            "original": user,
        }
        return TemplateResponse(request, "admin/impersonate.html", context)

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        users: QuerySet[User] = User.objects.get_queryset().prefetch_related("roles")
        return users

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest) -> bool:
        """Refuse filters on the password hash, as Django's own UserAdmin: they would reveal it bit by bit."""
        return not lookup.startswith("password") and super().lookup_allowed(lookup, value, request)

    @admin.display(description="roles")
    def role_names(self, user: User) -> str:
        return ", ".join(sorted(role.name for role in user.roles.all()))

    @admin.display(description="second factors")
    def second_factors(self, user: User) -> str:
        factors = factors_of(user.pk)
        labels = ["authenticator app"] if factors.totp else []
        labels += [f"{factors.passkeys} passkeys", f"{factors.recovery_codes} recovery codes left"]
        return ", ".join(labels)

    @admin.display(description="storage used")
    def storage_used(self, user: User) -> str:
        usage = quotas.usage_of(user.pk)
        return f"{filesizeformat(usage.used)} of {filesizeformat(usage.allowed)}"

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False  # users sign up; administrators are created by `manage.py create_admin`

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False  # an action soft-deletes, and a job erases after 30 days

    def has_change_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        """Refuse deleted accounts, and accounts with permissions that the member of staff does not have."""
        changeable = obj is None or (
            obj.deleted_at is None and obj.permission_codes() <= permissions_of_staff(request)
        )
        return changeable and super().has_change_permission(request, obj)

    def formfield_for_manytomany(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """Offer only roles whose permissions the member of staff has."""
        if db_field.name == "roles":
            allowed = sorted(permissions_of_staff(request))
            kwargs["queryset"] = Role.objects.filter(permissions__contained_by=allowed)
        return super().formfield_for_manytomany(db_field, request, **kwargs)

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        users_services.change_user_as_staff(
            obj.pk,
            form.cleaned_data,
            actor=actors.staff(request.user),
            now=timezone.now(),
            allowed_permissions=permissions_of_staff(request),
        )

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        """Skip the roles, which `save_model` has set; the inlines are read-only."""
        for formset in formsets:
            formset.save()

    @admin.action(description="Sign out everywhere", permissions=["change"])
    def sign_out(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        def close_sessions(user: User) -> None:
            if not user.permission_codes() <= permissions_of_staff(request):
                raise PermissionsExceeded
            sessions.close_all_sessions(user.pk, actor=actors.staff(request.user), now=timezone.now())

        for_each_row(self, request, queryset, close_sessions, "Signed out")

    @admin.action(description="Disable and sign out", permissions=["change"])
    def disable(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        self._set_active(request, queryset, False, "Disabled")

    @admin.action(description="Enable", permissions=["change"])
    def enable(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        self._set_active(request, queryset, True, "Enabled")

    def _set_active(
        self, request: HttpRequest, queryset: QuerySet[User], active: bool, result_label: str
    ) -> None:
        for_each_row(
            self,
            request,
            queryset,
            lambda user: users_services.set_active(
                user.pk,
                active,
                actor=actors.staff(request.user),
                now=timezone.now(),
                allowed_permissions=permissions_of_staff(request),
            ),
            result_label,
        )

    @admin.action(description="Remove all second factors (the owner gets a mail)", permissions=["change"])
    def reset_factors(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        for_each_row(
            self,
            request,
            queryset.filter(deleted_at=None),
            lambda user: mfa.reset_factors(
                user.pk,
                actor=actors.staff(request.user),
                allowed_permissions=permissions_of_staff(request),
            ),
            "Reset second factors of",
        )

    @admin.action(description="Delete (restorable for 30 days)", permissions=["change"])
    def soft_delete(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        for_each_row(
            self,
            request,
            queryset.filter(deleted_at=None),
            lambda user: users_services.delete_user(
                user.pk,
                actor=actors.staff(request.user),
                now=timezone.now(),
                if_match=ANY_VERSION,
                allowed_permissions=permissions_of_staff(request),
            ),
            "Deleted",
        )

    @admin.action(description="Restore", permissions=["change"])
    def restore(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        for_each_row(
            self,
            request,
            queryset.exclude(deleted_at=None),
            lambda user: users_services.restore_user(
                user.pk, actor=actors.staff(request.user), now=timezone.now()
            ),
            "Restored",
        )
