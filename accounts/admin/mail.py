"""Mails in the admin: waiting, sent and failed ones, without their content."""

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone

from audit.model_admin import AuditedAdmin, ReadOnlyAdmin
from audit.subjects import Subject
from core.jobs import mail
from core.models import Mail


@admin.register(Mail)
class MailAdmin(AuditedAdmin, ReadOnlyAdmin):
    list_display = ("template", "to", "status", "attempts", "error", "created_at", "due_at", "sent_at")
    list_filter = ("status", "template", "created_at")
    search_fields = ("to",)
    exclude = ("context",)
    actions = ["retry"]

    def subject_of(self, obj: Mail) -> Subject:
        return Subject("mail", obj.pk, owner_id=obj.person)

    def has_change_state_permission(self, request: HttpRequest) -> bool:
        """Django calls this for actions with the permission `change_state`."""
        return request.user.has_perm("core.change_mail")

    @admin.action(description="Try again now", permissions=["change_state"])
    def retry(self, request: HttpRequest, queryset: QuerySet[Mail]) -> None:
        count = mail.retry_mails(queryset.values_list("pk", flat=True), now=timezone.now())
        self.message_user(request, f"{count} mails will be tried again.")
