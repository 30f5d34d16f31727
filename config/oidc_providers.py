"""Sign-in providers (OpenID Connect Core 1.0) as OIDC_PROVIDERS defines them.

The variable is a JSON object. Its keys are the names of the providers, which appear in URLs.
"""

import json
import re
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

PROVIDER_NAME_PATTERN = re.compile(r"[a-z][a-z0-9-]{0,19}")
RESERVED_NAMES = {"password", "passkey"}  # the other sign-in methods in the audit trail
PRESETS: dict[str, dict[str, str]] = {
    "google": {"issuer": "https://accounts.google.com", "label": "Google"},
    # Facebook's discovery document has no token endpoint, and Facebook accepts the client secret only in the
    # request body.
    "facebook": {
        "issuer": "https://www.facebook.com",
        "label": "Facebook",
        "scope": "openid email public_profile",
        "token_endpoint": "https://graph.facebook.com/oauth/access_token",
        "token_auth": "client_secret_post",
    },
}


class Provider(BaseModel):
    """A sign-in provider. What is not set here comes from the issuer's discovery document."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    issuer: str = Field(max_length=255)
    client_id: str = Field(min_length=1)
    client_secret: SecretStr
    label: str = Field(min_length=1, max_length=40)
    scope: str = "openid email profile"
    # The provider verifies every email address, although its tokens have no `email_verified` claim.
    trust_email: bool = False
    token_endpoint: str = ""
    token_auth: str = Field("", pattern="^(|client_secret_basic|client_secret_post)$")

    @field_validator("issuer", "token_endpoint")
    @classmethod
    def validate_url(cls, value: str) -> str:
        """Require HTTPS, or HTTP on localhost, and return the URL unchanged.

        The issuer must equal the `iss` claim of the provider's tokens exactly.
        """
        if value and not re.fullmatch(r"https://[^\s?#]+|http://localhost:[0-9]{1,5}(/[^\s?#]*)?", value):
            raise ValueError("must be an address such as https://login.example.com")
        return value


def parse_providers(value: Any) -> Any:
    """Return the providers of OIDC_PROVIDERS by name, completed from `PRESETS`. Raises ValueError.

    `value` is the JSON text, or the parsed object.
    """
    providers = json.loads(value) if isinstance(value, str) else value
    if not isinstance(providers, dict) or not all(isinstance(item, dict) for item in providers.values()):
        raise ValueError('must be JSON such as {"google": {"client_id": "...", "client_secret": "..."}}')
    for name in providers:
        if not PROVIDER_NAME_PATTERN.fullmatch(name) or name in RESERVED_NAMES:
            raise ValueError(
                f"a provider cannot be called {name!r}: use lower-case letters, digits and hyphens"
            )
    return {
        name: {"label": name.title(), **PRESETS.get(name, {}), **item} for name, item in providers.items()
    }
