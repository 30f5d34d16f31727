import logging

from django.apps import AppConfig
from django.conf import settings
from django.db.models.signals import post_migrate


class AuditConfig(AppConfig):
    name = "audit"

    def ready(self) -> None:
        from audit import counters, logs, permissions, selectors, services  # noqa: F401 - permissions register themselves
        from core import lifecycle, refusals

        lifecycle.on_export(selectors.personal_data)
        refusals.listen(counters.count_refusal)
        post_migrate.connect(services.make_partitions, sender=self)
        if settings.ENV.process != "command":
            logging.getLogger().addHandler(logs.DatabaseHandler())
