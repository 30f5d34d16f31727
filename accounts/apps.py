"""Registers the callbacks of accounts with core."""

from django.apps import AppConfig
from django.conf import settings
from django.db.models.signals import post_migrate


class AccountsConfig(AppConfig):
    name = "accounts"

    def ready(self) -> None:
        from accounts.credentials.revocation import CredentialAuthenticator
        from accounts.services import erasure, personal_data, roles
        from core import lifecycle
        from core.admission import authenticators

        authenticators.register_authenticator(CredentialAuthenticator())
        authenticators.ignore_credential(
            "auth/register",
            "auth/prelogin",
            "auth/login",
            "auth/login/passkey",
            "auth/login/passkey/options",
            "auth/mfa/verify",
            "auth/refresh",
            "auth/logout",
            "auth/email/verify",
            "auth/email/resend",
            "auth/password/forgot",
            "auth/password/reset",
        )
        authenticators.ignore_credential("auth/restore", "auth/impersonate")
        for name in settings.OIDC_PROVIDERS:
            authenticators.ignore_credential(f"auth/login/oidc/{name}", f"auth/login/oidc/{name}/options")
        lifecycle.on_export(personal_data.export_account_data)
        lifecycle.on_erase(erasure.erase_account_data)
        lifecycle.on_purge(erasure.purge_users)
        post_migrate.connect(roles.upsert_roles, sender=self)
