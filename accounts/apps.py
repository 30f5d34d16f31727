from django.apps import AppConfig
from django.conf import settings
from django.db.models.signals import post_migrate


class AccountsConfig(AppConfig):
    name = "accounts"

    def ready(self) -> None:
        from accounts import authentication, permissions, services  # noqa: F401 - they register themselves
        from accounts.revocation import GateAuthenticator
        from core import gate, lifecycle

        gate.use_authenticator(GateAuthenticator())
        gate.ignore_credential(
            "auth/register", "auth/prelogin", "auth/login", "auth/login/passkey", "auth/login/passkey/options", "auth/mfa/verify",
            "auth/refresh", "auth/logout", "auth/email/verify", "auth/email/resend", "auth/password/forgot", "auth/password/reset",
        )  # fmt: skip
        gate.ignore_credential("auth/restore", "auth/impersonate")
        for name in settings.OIDC_PROVIDERS:
            gate.ignore_credential(f"auth/login/oidc/{name}", f"auth/login/oidc/{name}/options")
        lifecycle.on_export(services.personal_data)
        lifecycle.on_erase(services.erase_account)
        lifecycle.on_purge(services.purge_users)
        post_migrate.connect(services.upsert_roles, sender=self)
