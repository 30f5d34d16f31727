"""The app config of core."""

from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules


class CoreConfig(AppConfig):
    name = "core"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Import the `permissions` module of every app, so that all permissions and scopes are registered."""
        autodiscover_modules("permissions")
