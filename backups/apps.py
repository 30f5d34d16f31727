from django.apps import AppConfig


class BackupsConfig(AppConfig):
    name = "backups"

    def ready(self) -> None:
        from backups import metrics, startup_checks
        from backups.services import erasure_tombstones
        from core import lifecycle
        from core.observability import startup_checks as core_startup_checks
        from core.observability import store_metrics

        core_startup_checks.register_check(startup_checks.warn_of_shared_failure_domain)
        store_metrics.register(metrics.collect)
        lifecycle.on_erase(erasure_tombstones.record_tombstone)
