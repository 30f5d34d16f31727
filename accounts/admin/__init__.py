"""Users, sessions, keys and roles in the admin: a window and a few buttons."""

from typing import Any, cast
from uuid import UUID

from django.contrib import admin
from django.contrib.admin.forms import AdminPasswordChangeForm
from django.contrib.auth.models import Group
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import QuerySet
from django.forms import CharField, Form, ModelForm, Textarea
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import path
from django.utils import timezone

from accounts.admin import login
from accounts.credentials.known_devices import Device
from accounts.errors import CredentialsRefused, LastAdmin, PermissionsExceeded
from accounts.models import ApiKey, Identity, Role, Session, User
from accounts.permissions import USERS_IMPERSONATE
from accounts.selectors import factors_of
from accounts.services import api_keys, impersonation, mfa, roles, sessions, sign_in
from accounts.services import users as users_services
from audit import actors
from audit.admin import AuditedAdmin, ReadOnlyAdmin
from audit.subjects import Subject
from core.admin_site import PlatformAdminSite, for_each_row
from core.http.preconditions import ANY_VERSION
from core.jobs import mail
from core.models import Mail

admin.site.unregister(Group)  # roles take its place


def rights(request: HttpRequest) -> frozenset[str]:
    """What the member of staff may do: nobody hands out, takes or touches more."""
    return cast(User, request.user).permission_codes()


class PasswordForm(AdminPasswordChangeForm):
    """One's own password, by the service: it ends every session, and this one goes on with the new password."""

    def clean_old_password(self) -> str:
        """By the service too, which slows down guessing. Raises TooManyAttempts."""
        old: str = self.cleaned_data["old_password"]
        try:
            sign_in.check_credentials(self.user.email, old, device=Device(client="password change"))
        except CredentialsRefused as refusal:
            raise ValidationError(refusal.message) from None
        return old

    def save(self, commit: bool = True) -> User:
        person = self.user
        users_services.set_password(
            person.pk, self.cleaned_data["new_password1"], actor=actors.staff(person), now=timezone.now()
        )
        person.refresh_from_db()
        return person


login.install(cast(PlatformAdminSite, admin.site), password_form=PasswordForm)


class ReasonForm(Form):
    reason = CharField(
        max_length=300,
        widget=Textarea(attrs={"rows": 3}),
        help_text="The owner reads it, in a mail that goes out now.",
    )


class SessionInline(admin.TabularInline):
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
    extra = 0
    can_delete = False
    verbose_name_plural = "sessions"

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class ApiKeyInline(admin.TabularInline):
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
    extra = 0
    can_delete = False
    verbose_name_plural = "API keys"

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class IdentityInline(admin.TabularInline):
    model = Identity
    fields = readonly_fields = ("provider", "issuer", "created_at", "last_used_at")
    extra = 0
    can_delete = False
    verbose_name_plural = "sign-in providers"

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class UserForm(ModelForm):
    def clean(self) -> dict[str, Any]:
        """Refuse what would leave nobody to administer, before anything is saved."""
        cleaned = super().clean() or self.cleaned_data
        stays = cleaned.get("is_active") and roles.ADMIN_ROLE in {
            role.name for role in cleaned.get("roles", [])
        }
        try:
            if not stays:
                roles.require_another_admin(self.instance.pk)
        except LastAdmin as refusal:
            raise ValidationError(refusal.message) from None
        return cleaned


@admin.register(User)
class UserAdmin(AuditedAdmin, admin.ModelAdmin):
    list_display = ("email", "name", "role_names", "is_active", "created_at", "deleted_at")
    list_filter = ("is_active", "roles", ("deleted_at", admin.EmptyFieldListFilter), "created_at")
    search_fields = ("email", "name", "id")
    ordering = ("-id",)
    fields = ("email", "email_verified_at", "scheme", "name", "age", "is_active", "roles", "second_factors")
    readonly_fields = ("email", "email_verified_at", "scheme", "second_factors")
    filter_horizontal = ("roles",)
    form = UserForm
    inlines = [SessionInline, ApiKeyInline, IdentityInline]
    actions = ["sign_out", "disable", "enable", "reset_factors", "hide", "restore"]
    change_form_template = "admin/user.html"

    def get_urls(self) -> list[Any]:
        mine = path(
            "<uuid:pk>/impersonate/",
            self.admin_site.admin_view(self.impersonate),
            name="accounts_user_impersonate",
        )
        return [mine, *super().get_urls()]

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        may = cast(User, request.user).may(USERS_IMPERSONATE)
        return super().change_view(
            request, object_id, form_url, {**(extra_context or {}), "may_impersonate": may}
        )

    def impersonate(self, request: HttpRequest, pk: UUID) -> HttpResponse:
        """Ask for a reason, then show a link that opens a session as this user, once."""
        staff = cast(User, request.user)
        user = get_object_or_404(User.objects.alive(), pk=pk)
        if not staff.may(USERS_IMPERSONATE):
            raise PermissionDenied
        form = ReasonForm(request.POST or None)
        link = ""
        if request.method == "POST" and form.is_valid():
            link = impersonation.begin_impersonation(
                pk, staff=staff, reason=form.cleaned_data["reason"], now=timezone.now()
            )
        page = {
            **self.admin_site.each_context(request),
            "title": f"Act as {user}",
            "form": form,
            "link": link,
            "user_pk": pk,
        }
        return TemplateResponse(
            request, "admin/impersonate.html", {**page, "opts": self.opts, "original": user}
        )

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        users: QuerySet[User] = User.objects.get_queryset().prefetch_related("roles")
        return users

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest) -> bool:
        """As Django's own user admin: a hash must not be guessed letter by letter."""
        return not lookup.startswith("password") and super().lookup_allowed(lookup, value, request)

    @admin.display(description="roles")
    def role_names(self, user: User) -> str:
        return ", ".join(sorted(role.name for role in user.roles.all()))

    @admin.display(description="second factors")
    def second_factors(self, user: User) -> str:
        factors = factors_of(user.pk)
        app = ["authenticator app"] if factors.totp else []
        return ", ".join(
            [*app, f"{factors.passkeys} passkeys", f"{factors.recovery_codes} recovery codes left"]
        )

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False  # people sign up; an administrator comes from `manage.py create_admin`

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False  # the button hides, a job deletes after 30 days

    def has_change_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        """Nobody changes an account with rights beyond their own, or one that is deleted."""
        open_to_all = obj is None or (obj.deleted_at is None and obj.permission_codes() <= rights(request))
        return open_to_all and super().has_change_permission(request, obj)

    def formfield_for_manytomany(self, db_field: Any, request: HttpRequest, **options: Any) -> Any:
        """Roles that one may give."""
        if db_field.name == "roles":
            options["queryset"] = Role.objects.filter(permissions__contained_by=sorted(rights(request)))
        return super().formfield_for_manytomany(db_field, request, **options)

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        actor = actors.staff(request.user)
        users_services.change_user_as_staff(
            obj.pk, form.cleaned_data, actor=actor, now=timezone.now(), limit=rights(request)
        )

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        """Roles were set by the service above; the sessions beside them are read-only."""
        for formset in formsets:
            formset.save()

    @admin.action(description="Sign out everywhere", permissions=["change"])
    def sign_out(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        def close(user: User) -> None:
            if not user.permission_codes() <= rights(request):
                raise PermissionsExceeded
            sessions.close_all_sessions(user.pk, actor=actors.staff(request.user), now=timezone.now())

        for_each_row(self, request, queryset, close, "Signed out")

    @admin.action(description="Disable and sign out", permissions=["change"])
    def disable(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        for_each_row(
            self,
            request,
            queryset,
            lambda user: users_services.set_active(
                user.pk, False, actor=actors.staff(request.user), now=timezone.now(), limit=rights(request)
            ),
            "Disabled",
        )

    @admin.action(description="Enable", permissions=["change"])
    def enable(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        for_each_row(
            self,
            request,
            queryset,
            lambda user: users_services.set_active(
                user.pk, True, actor=actors.staff(request.user), now=timezone.now(), limit=rights(request)
            ),
            "Enabled",
        )

    @admin.action(description="Take all second factors away (the owner gets a mail)", permissions=["change"])
    def reset_factors(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        for_each_row(
            self,
            request,
            queryset.filter(deleted_at=None),
            lambda user: mfa.reset_factors(user.pk, actor=actors.staff(request.user), limit=rights(request)),
            "Reset second factors of",
        )

    @admin.action(description="Delete (restorable for 30 days)", permissions=["change"])
    def hide(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        alive = queryset.filter(deleted_at=None)
        for_each_row(
            self,
            request,
            alive,
            lambda user: users_services.delete_user(
                user.pk,
                actor=actors.staff(request.user),
                now=timezone.now(),
                if_match=ANY_VERSION,
                limit=rights(request),
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
        return request.user.has_perm("accounts.change_session")

    @admin.action(description="Revoke", permissions=["change_state"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[Session]) -> None:
        ended = sum(
            len(
                sessions.end_sessions(
                    session.user_id, [session.pk], actor=actors.staff(request.user), now=timezone.now()
                )
            )
            for session in queryset
        )
        self.message_user(request, f"Revoked {ended} sessions.")


@admin.register(ApiKey)
class ApiKeyAdmin(AuditedAdmin, ReadOnlyAdmin):
    list_display = ("label", "owner", "prefix", "created_at", "last_used_at", "expires_at", "revoked_at")
    list_filter = (("revoked_at", admin.EmptyFieldListFilter), "created_at")
    list_select_related = ("owner",)
    search_fields = ("owner__email", "label", "prefix")
    exclude = ("digest",)
    actions = ["revoke"]

    def has_change_state_permission(self, request: HttpRequest) -> bool:
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


@admin.register(Mail)
class MailAdmin(AuditedAdmin, ReadOnlyAdmin):
    """Which mails wait, went or failed; never what they say."""

    list_display = ("template", "to", "state", "attempts", "error", "created_at", "due_at", "sent_at")
    list_filter = ("state", "template", "created_at")
    search_fields = ("to",)
    exclude = ("facts",)
    actions = ["retry"]

    def subject_of(self, obj: Mail) -> Subject:
        return Subject("mail", obj.pk, owner_id=obj.person)

    def has_change_state_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("core.change_mail")

    @admin.action(description="Try again now", permissions=["change_state"])
    def retry(self, request: HttpRequest, queryset: QuerySet[Mail]) -> None:
        again = mail.retry_mails(queryset.values_list("pk", flat=True), now=timezone.now())
        self.message_user(request, f"{again} mails will be tried again.")


@admin.register(Role)
class RoleAdmin(ReadOnlyAdmin):
    list_display = ("name", "built_in", "permission_count")
    search_fields = ("name",)

    @admin.display(description="permissions")
    def permission_count(self, role: Role) -> int:
        return len(role.permissions)
