"""Sign-in providers (OpenID Connect) as OIDC_PROVIDERS names them: JSON, by the name that stands in
addresses.
"""

import json
import re
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

NAME = re.compile(r"[a-z][a-z0-9-]{0,19}")
PRESETS: dict[str, dict[str, str]] = {
    "google": {"issuer": "https://accounts.google.com", "label": "Google"},
    "facebook": {  # its discovery document names no token endpoint, and it takes the secret in the body only
        "issuer": "https://www.facebook.com",
        "label": "Facebook",
        "scope": "openid email public_profile",
        "token_endpoint": "https://graph.facebook.com/oauth/access_token",
        "token_auth": "client_secret_post",
    },
}


class Provider(BaseModel):
    """Everything but the client's id and secret comes from the issuer's discovery document, or from a preset."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    issuer: str = Field(max_length=255)
    client_id: str = Field(min_length=1)
    client_secret: SecretStr
    label: str = Field(min_length=1, max_length=40)
    scope: str = "openid email profile"
    trust_email: bool = False  # the provider checks every address, and only fails to say so
    token_endpoint: str = ""
    token_auth: str = Field("", pattern="^(|client_secret_basic|client_secret_post)$")

    @field_validator("issuer", "token_endpoint")
    @classmethod
    def over_tls(cls, value: str) -> str:
        """The issuer as its tokens say it, to the letter. Plain HTTP is for one's own machine."""
        if value and not re.fullmatch(r"https://[^\s?#]+|http://localhost:[0-9]{1,5}(/[^\s?#]*)?", value):
            raise ValueError("must be an address such as https://login.example.com")
        return value


def parse_providers(value: Any) -> Any:
    """The JSON of OIDC_PROVIDERS with the presets filled in. Raises ValueError."""
    found = json.loads(value) if isinstance(value, str) else value
    if not isinstance(found, dict) or not all(isinstance(item, dict) for item in found.values()):
        raise ValueError('must be JSON such as {"google": {"client_id": "...", "client_secret": "..."}}')
    if wrong := [name for name in found if not NAME.fullmatch(name) or name in {"password", "passkey"}]:
        raise ValueError(f"a provider cannot be called {wrong[0]!r}: use small letters, digits and hyphens")
    return {name: {"label": name.title(), **PRESETS.get(name, {}), **item} for name, item in found.items()}
