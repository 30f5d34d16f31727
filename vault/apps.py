from django.apps import AppConfig


class VaultConfig(AppConfig):
    name = "vault"

    def ready(self) -> None:
        from core import lifecycle
        from vault import (
            password_change,
            services,
        )

        lifecycle.on_export(services.personal_data)
        lifecycle.on_purge(services.purge)
        lifecycle.on_password_replaced(password_change.before_new_secret)
