from django.apps import AppConfig


class AnalyticsConfig(AppConfig):
    name = "analytics"

    def ready(self) -> None:
        from analytics import services
        from analytics.ingest import (
            intake,
            tracking_script,
        )
        from core import lifecycle
        from sites.serving import head_parts, site_server

        lifecycle.on_purge(services.purge)
        lifecycle.on_erase(services.erase_person)
        for path in (intake.private_path(), intake.ALIAS):
            site_server.mount(path, intake.serve, max_body_bytes=intake.MAX_BODY)
        head_parts.register(tracking_script.head_part)
