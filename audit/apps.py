import logging

from django.apps import AppConfig
from django.conf import settings
from django.db.models.signals import post_migrate


class AuditConfig(AppConfig):
    name = "audit"

    def ready(self) -> None:
        from audit import (
            refusal_counters,
            selectors,
            server_log,
            services,
        )
        from audit.chain import metrics
        from core import error_events, lifecycle
        from core.observability import store_metrics

        store_metrics.register(metrics.collect)
        lifecycle.on_export(selectors.personal_data)
        error_events.subscribe(refusal_counters.count_refusal)
        post_migrate.connect(services.create_partitions, sender=self)
        if settings.ENV.process != "command":
            logging.getLogger().addHandler(server_log.DatabaseHandler())
