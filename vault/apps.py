from django.apps import AppConfig


class VaultConfig(AppConfig):
    name = "vault"

    def ready(self) -> None:
        from core import lifecycle
        from vault import passwords, permissions, services  # noqa: F401 - permissions register themselves

        lifecycle.on_export(services.personal_data)
        lifecycle.on_purge(services.purge)
        lifecycle.on_new_secret(passwords.before_new_secret)
