"""What API keys may be given of a vault: envelopes, which they cannot open either."""

from core.permissions import scope

VAULT_READ = scope("vault.read", "Read the encrypted contents of your vaults")
VAULT_WRITE = scope("vault.write", "Write and delete the encrypted contents of your vaults")
