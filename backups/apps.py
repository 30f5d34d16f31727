from django.apps import AppConfig


class BackupsConfig(AppConfig):
    name = "backups"

    def ready(self) -> None:
        from backups import (
            metrics,  # noqa: F401 - they register themselves
            startup_checks,
        )
        from backups.services import erasure_tombstones
        from core import lifecycle
        from core.observability import startup_checks as core_boot

        core_boot.register_check(startup_checks.check)
        lifecycle.on_erase(erasure_tombstones.remember)
