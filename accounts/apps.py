from django.apps import AppConfig
from django.db.models.signals import post_migrate


class AccountsConfig(AppConfig):
    name = "accounts"

    def ready(self) -> None:
        from accounts import authentication, services  # noqa: F401 - drf-spectacular finds the scheme once imported
        from accounts.revocation import GateAuthenticator
        from core import gate, lifecycle

        gate.use_authenticator(GateAuthenticator())
        gate.ignore_credential("auth/register", "auth/login", "auth/refresh", "auth/logout")
        lifecycle.on_purge(services.purge_users)
        post_migrate.connect(services.upsert_roles, sender=self)
