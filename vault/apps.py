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
        lifecycle.on_purge(services.purge_expired)
        lifecycle.on_password_replaced(password_change.reencrypt_or_delete_vaults)
