"""The app config of core."""

from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules


class CoreConfig(AppConfig):
    name = "core"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register the metrics of core, and all permissions and scopes of the `permissions` modules."""
        from core.observability import capacity_metrics, store_metrics

        autodiscover_modules("permissions")
        store_metrics.register(capacity_metrics.collect_disk)
        store_metrics.register(capacity_metrics.collect_database)
