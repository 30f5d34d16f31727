"""The app config that replaces Django's admin with ours and loads the Celery application."""

from django.contrib.admin.apps import AdminConfig as DjangoAdminConfig


class AdminConfig(DjangoAdminConfig):
    default_site = "core.admin_site.PlatformAdminSite"

    def ready(self) -> None:
        # Tasks that a web process enqueues use the current Celery application. Without this import that would
        # be Celery's default application, which has no broker.
        from config import celery  # noqa: F401

        super().ready()
