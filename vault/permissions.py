"""Scopes that an API key may hold. They give access to envelopes, not to keys."""

from core.permissions import scope

VAULT_READ = scope("vault.read", "Read the encrypted contents of your vaults")
VAULT_WRITE = scope("vault.write", "Write and delete the encrypted contents of your vaults")
