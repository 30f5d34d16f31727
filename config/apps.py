"""The admin site of this platform, in place of Django's; and the Celery application, current in every
process.
"""

from django.contrib.admin.apps import AdminConfig as DjangoAdminConfig


class AdminConfig(DjangoAdminConfig):
    default_site = "core.admin_site.PlatformAdminSite"

    def ready(self) -> None:
        # Without it a web process would send its messages to no broker of ours.
        from config import celery  # noqa: F401

        super().ready()
