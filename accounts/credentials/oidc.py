"""OpenID Connect relying party: authorization URL, code exchange, and verification of ID tokens.

Only the authorization code flow with PKCE (S256), `state` and `nonce` is supported. ID tokens are verified as
OpenID Connect Core 1.0, section 3.1.3.7 requires, with the keys that the issuer publishes. Requests to the
provider are sent by `core.outbound`.
"""

import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import structlog
from django.conf import settings
from joserfc.errors import JoseError

from accounts.errors import ProviderRefused, ProviderUnavailable
from config.oidc_providers import Provider
from core.admission.rate_limits import LocalRateLimiter
from core.errors import NotFound
from core.storage.circuit_breaker import CircuitBreaker

# The asymmetric signatures of RFC 7518, RFC 8037 and RFC 9864.
ALGORITHMS = [
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512"),
    *("EdDSA", "Ed25519"),
]
KEY_TYPES = {"RSA", "EC", "OKP"}
CACHE_SECONDS = 3600
# Fetches of keys because none verified a token: some at once, then one in this time.
KEY_REFETCH_SECONDS = 60
KEY_REFETCHES_AT_ONCE = 3
PAUSE_SECONDS = 5  # without requests, after a provider did not respond
LEEWAY_SECONDS = 30
SUBJECT_PATTERN = re.compile(r"[\x20-\x7e]{1,255}")  # OpenID Connect Core 1.0, section 2
URL_PATTERN = re.compile(r"https://[\w.-]+(:\d+)?(/\S*)?|http://localhost:\d+(/\S*)?")
# What the libraries raise for malformed tokens and keys.
MALFORMED_DATA_ERRORS = (
    KeyError,
    TypeError,
    ValueError,
    AttributeError,
    OverflowError,
    RecursionError,
    JoseError,
)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Claims:
    """The identity of a user at a provider.

    `email` may be empty. `verified` tells whether the provider has verified it.
    """

    issuer: str
    subject: str
    email: str
    verified: bool
    name: str


@dataclass(slots=True)
class _IssuerState:
    """Cached metadata and keys of an issuer, and its circuit breaker. Times are in monotonic seconds."""

    metadata: dict[str, Any] = field(default_factory=dict)
    metadata_until: float = 0
    keys: Any = None
    keys_fetched_at: float = 0
    refetches: LocalRateLimiter = field(default_factory=lambda: LocalRateLimiter(1))
    breaker: CircuitBreaker = field(default_factory=lambda: CircuitBreaker(PAUSE_SECONDS))


_issuers: dict[str, _IssuerState] = {}  # by issuer URL; as many as OIDC_PROVIDERS names


def get_provider(name: str) -> Provider:
    """Return the configuration of a provider. Raises NotFound."""
    provider: Provider | None = settings.OIDC_PROVIDERS.get(name)
    if provider is None:
        raise NotFound
    return provider


def redirect_uri(name: str) -> str:
    """Return the redirect URI of a provider. Each has its own, so that responses cannot be mixed up."""
    return f"{settings.FRONT_END_URL}/oidc/{name}"


def authorization_url(name: str, *, state: str, nonce: str, verifier: str) -> str:
    """Return the URL where the browser signs in. Raises NotFound, ProviderUnavailable."""
    metadata = _discover(get_provider(name))
    with _oauth_client(name, metadata) as client:
        url, _ = client.create_authorization_url(
            metadata["authorization_endpoint"], state=state, nonce=nonce, code_verifier=verifier
        )
    return str(url)


def exchange_code(name: str, code: str, *, nonce: str, verifier: str) -> Claims:
    """Exchange an authorization code for verified claims.

    Raises NotFound, ProviderUnavailable, ProviderRefused.
    """
    from authlib.integrations.base_client import OAuthError

    provider = get_provider(name)
    metadata = _discover(provider)
    try:
        tokens = _fetch_tokens(name, metadata, code, verifier=verifier)
        claims = _verify_id_token(provider, metadata, tokens, nonce)
        profile = claims if claims.get("email") else _userinfo(provider, metadata, tokens, claims["sub"])
    except (OAuthError, *MALFORMED_DATA_ERRORS) as error:
        log.warning("oidc_refused", provider=name, reason=type(error).__name__, detail=str(error)[:200])
        raise ProviderRefused from None
    email_verified = profile.get("email_verified")
    verified = email_verified is True or email_verified == "true" or provider.trust_email
    name_claim = str(claims.get("name") or profile.get("name") or "")
    printable_name = "".join(character for character in name_claim if character.isprintable())
    return Claims(
        issuer=provider.issuer,
        subject=claims["sub"],
        email=str(profile.get("email") or ""),
        verified=verified,
        name=printable_name[:120],
    )


def _fetch_tokens(name: str, metadata: dict[str, Any], code: str, *, verifier: str) -> dict[str, Any]:
    """Return the response of the token endpoint. Raises OAuthError, ProviderUnavailable."""
    provider = get_provider(name)
    with _oauth_client(name, metadata) as client:
        endpoint = provider.token_endpoint or metadata["token_endpoint"]
        tokens: dict[str, Any] = _call_provider(
            provider,
            lambda: client.fetch_token(
                endpoint,
                grant_type="authorization_code",
                code=code,
                code_verifier=verifier,
            ),
        )
    return tokens


def _verify_id_token(
    provider: Provider, metadata: dict[str, Any], tokens: dict[str, Any], nonce: str
) -> dict[str, Any]:
    """Return the claims of a valid ID token. Raises MALFORMED_DATA_ERRORS, ProviderUnavailable."""
    from authlib.oidc.core import CodeIDToken
    from joserfc.errors import InvalidClaimError

    class IdToken(CodeIDToken):
        def validate_azp(self) -> None:
            """With several audiences one of them is ours, and `azp`, which is optional, names us."""
            if self.get("azp", provider.client_id) != provider.client_id:
                raise InvalidClaimError("azp")

    token = _decode(provider, metadata, str(tokens["id_token"]))
    required_claims = {
        "iss": {"essential": True, "value": provider.issuer},
        "aud": {"essential": True, "value": provider.client_id},
    }
    params = {"nonce": nonce, "client_id": provider.client_id, "access_token": tokens.get("access_token")}
    claims = IdToken(token.claims, token.header, required_claims, params)
    claims.validate(leeway=LEEWAY_SECONDS)
    if not isinstance(claims["sub"], str) or not SUBJECT_PATTERN.fullmatch(claims["sub"]):
        raise InvalidClaimError("sub")
    return dict(claims)


def _decode(provider: Provider, metadata: dict[str, Any], encoded: str) -> Any:
    """Return a JWT of the provider whose signature one of its keys verifies.

    Fetches the keys once more when none does: the provider may have replaced one, also under the same `kid`.
    Raises MALFORMED_DATA_ERRORS, ProviderUnavailable.
    """
    issuer = _issuers[provider.issuer]
    if issuer.keys is None or time.monotonic() - issuer.keys_fetched_at > CACHE_SECONDS:
        _fetch_keys(provider, metadata)
    elif (token := _decode_with_keys(issuer.keys, encoded)) is not None:
        return token
    elif issuer.refetches.take("", interval=KEY_REFETCH_SECONDS, burst=KEY_REFETCHES_AT_ONCE).allowed:
        _fetch_keys(provider, metadata)
    token = _decode_with_keys(issuer.keys, encoded)
    if token is None:
        raise ValueError("no key of the provider verifies this signature")
    return token


def _decode_with_keys(keys: Any, encoded: str) -> Any:
    """Return the JWT, or None when no key verifies its signature. Raises MALFORMED_DATA_ERRORS."""
    from joserfc import jwt
    from joserfc.jws import extract_compact

    header = extract_compact(encoded.encode()).headers()
    if header.get("alg") not in ALGORITHMS:
        raise ValueError("the algorithm of this signature is not accepted")
    for key in keys.keys:
        if header.get("kid") not in {None, key.kid}:
            continue
        try:
            return jwt.decode(encoded, key, algorithms=ALGORITHMS)
        except (JoseError, ValueError, TypeError):  # also a key of another type
            continue
    return None


def _fetch_keys(provider: Provider, metadata: dict[str, Any]) -> None:
    """Fetch the keys of the issuer. Raises MALFORMED_DATA_ERRORS, ProviderUnavailable."""
    from joserfc.jwk import KeySet

    issuer = _issuers[provider.issuer]
    published = _fetch_json(provider, metadata["jwks_uri"])["keys"]
    # Key types that we do not support are skipped (RFC 7517 section 5).
    issuer.keys = KeySet.import_key_set({"keys": [key for key in published if key["kty"] in KEY_TYPES]})
    issuer.keys_fetched_at = time.monotonic()


def _userinfo(
    provider: Provider, metadata: dict[str, Any], tokens: dict[str, Any], subject: str
) -> dict[str, Any]:
    """Return the claims of the userinfo endpoint, for providers that leave them out of the ID token.

    They are JSON, or a JWT that the provider has signed (OpenID Connect Core 1.0, section 5.3.2). Empty
    without such an endpoint, when it refuses this person, and for claims of another subject. Raises
    MALFORMED_DATA_ERRORS, ProviderUnavailable.
    """
    endpoint = metadata.get("userinfo_endpoint")
    access_token = tokens.get("access_token")
    if not endpoint or not access_token or "email" not in provider.scope.split():
        return {}
    response = _fetch(provider, endpoint, headers={"Authorization": f"Bearer {access_token}"})
    if response.status_code != 200:
        log.warning("oidc_userinfo_refused", issuer=provider.issuer, status=response.status_code)
        return {}
    if response.headers.get("Content-Type", "").partition(";")[0].strip().lower() == "application/jwt":
        claims = dict(_decode(provider, metadata, response.text).claims)
        audiences = claims.get("aud", provider.client_id)
        is_for_us = provider.client_id in (audiences if isinstance(audiences, list) else [audiences])
        if claims.get("iss", provider.issuer) != provider.issuer or not is_for_us:
            raise ValueError("the userinfo response is of another issuer or for another client")
    else:
        claims = dict(json.loads(response.content))
    return claims if claims.get("sub") == subject else {}


def _oauth_client(name: str, metadata: dict[str, Any]) -> Any:
    from authlib.integrations.requests_client import OAuth2Session

    from core import outbound

    provider = get_provider(name)
    supported = metadata.get("token_endpoint_auth_methods_supported")
    supports_only_post = isinstance(supported, list) and "client_secret_basic" not in supported
    default_auth_method = "client_secret_post" if supports_only_post else "client_secret_basic"
    client = OAuth2Session(
        provider.client_id,
        provider.client_secret.get_secret_value(),
        token_endpoint_auth_method=provider.token_auth or default_auth_method,
        scope=provider.scope,
        redirect_uri=redirect_uri(name),
        code_challenge_method="S256",
    )
    return outbound.restrict_session(client, outbound.AddressRules.from_settings())


def _discover(provider: Provider) -> dict[str, Any]:
    """Return the issuer's metadata (OpenID Connect Discovery 1.0), cached. Raises ProviderUnavailable."""
    issuer = _issuers.setdefault(provider.issuer, _IssuerState())
    if time.monotonic() > issuer.metadata_until:
        url = f"{provider.issuer.rstrip('/')}/.well-known/openid-configuration"
        metadata = _fetch_json(provider, url)
        endpoints = {"authorization_endpoint", "jwks_uri"}
        if not provider.token_endpoint:
            endpoints.add("token_endpoint")
        endpoints |= {"userinfo_endpoint"} & metadata.keys()
        has_valid_urls = all(_is_allowed_url(metadata.get(endpoint)) for endpoint in endpoints)
        if metadata.get("issuer") != provider.issuer or not has_valid_urls:
            reported_issuer = str(metadata.get("issuer"))[:200]
            log.error("oidc_metadata_refused", issuer=provider.issuer, reported_issuer=reported_issuer)
            raise ProviderUnavailable
        issuer.metadata = metadata
        issuer.metadata_until = time.monotonic() + CACHE_SECONDS
    return issuer.metadata


def _is_allowed_url(value: Any) -> bool:
    """Return whether `value` is a URL with TLS, or of this machine."""
    return isinstance(value, str) and URL_PATTERN.fullmatch(value) is not None


def _fetch_json(provider: Provider, url: str) -> dict[str, Any]:
    """Return the JSON object at a URL of the provider. Raises ProviderUnavailable."""
    response = _fetch(provider, url)
    try:
        if response.status_code != 200:
            raise ValueError(f"status {response.status_code}")
        return dict(json.loads(response.content))
    except (ValueError, TypeError, RecursionError) as error:
        reason = f"{type(error).__name__}: {error}"[:200]
        log.warning("oidc_provider_unavailable", issuer=provider.issuer, url=url, reason=reason)
        raise ProviderUnavailable from None


def _fetch(provider: Provider, url: str, headers: dict[str, str] | None = None) -> Any:
    """Return the response to a GET request. Raises ProviderUnavailable, also for a 5xx response."""
    import requests

    from core import outbound

    def get() -> Any:
        with outbound.new_session() as session:
            response = session.get(url, headers=headers)
        if response.status_code >= 500:
            raise requests.ConnectionError(f"status {response.status_code}")
        return response

    return _call_provider(provider, get)


def _call_provider(provider: Provider, request: Callable[[], Any]) -> Any:
    """Return the result of `request`, through the provider's circuit breaker.

    After a failed connection no request is made for PAUSE_SECONDS, so that a slow provider does not block all
    threads. Raises ProviderUnavailable.
    """
    import requests

    breaker = _issuers[provider.issuer].breaker
    if breaker.is_open:
        raise ProviderUnavailable
    try:
        return request()
    except (requests.RequestException, ValueError, TypeError, RecursionError, OverflowError) as error:
        # Other errors mean that the provider responded, but with malformed data.
        if isinstance(error, requests.ConnectionError | requests.Timeout):
            breaker.open()
        log.warning("oidc_provider_unavailable", issuer=provider.issuer, reason=type(error).__name__)
        raise ProviderUnavailable from None
