from django.apps import AppConfig


class AnalyticsConfig(AppConfig):
    name = "analytics"

    def ready(self) -> None:
        from analytics import metrics, services
        from analytics.ingest import intake, tracking_script
        from core import lifecycle
        from core.observability import store_metrics
        from sites.serving import head_parts, site_server

        store_metrics.register(metrics.collect)
        lifecycle.on_purge(services.purge_deleted_sites)
        lifecycle.on_erase(services.erase_sites_of_user)
        for path in (intake.unlisted_path(), intake.DEFAULT_PATH):
            site_server.mount(path, intake.handle_request, max_body_bytes=intake.MAX_BODY_BYTES)
        head_parts.register(tracking_script.head_part)
