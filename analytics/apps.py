from django.apps import AppConfig


class AnalyticsConfig(AppConfig):
    name = "analytics"

    def ready(self) -> None:
        from analytics import intake, permissions, script, services  # noqa: F401 - permissions register themselves
        from core import lifecycle
        from sites import edge, head

        lifecycle.on_purge(services.purge)
        lifecycle.on_erase(services.erase_person)
        for path in (intake.private_path(), intake.ALIAS):
            edge.mount(path, intake.serve, body=intake.MAX_BODY)
        head.contribute(script.head_part)
