from django.apps import AppConfig


class VaultConfig(AppConfig):
    name = "vault"

    def ready(self) -> None:
        from core import lifecycle, quotas
        from vault import (
            password_change,
            purging,
            selectors,
        )
        from vault.quotas import measure_vaults_of

        lifecycle.on_export(selectors.personal_data)
        lifecycle.on_purge(purging.purge_expired)
        lifecycle.on_password_replaced(password_change.reencrypt_or_delete_vaults)
        quotas.register_kinds("vault", measure=measure_vaults_of)
