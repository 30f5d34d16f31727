from django.apps import AppConfig


class BackupsConfig(AppConfig):
    name = "backups"

    def ready(self) -> None:
        from backups import boot, measures, permissions  # noqa: F401 - they register themselves
        from backups.services import forgetting
        from core import boot as core_boot
        from core import lifecycle

        core_boot.also(boot.check)
        lifecycle.on_erase(forgetting.remember)
