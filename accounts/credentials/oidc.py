"""OpenID Connect, as the relying party: where to send a browser, and what the code that it brings back
proves.

Authorization code flow with PKCE (S256), state and nonce alone. ID tokens are judged as OpenID Connect Core
1.0, 3.1.3.7 says, by keys that the issuer publishes.
"""

import json
import re
import time
from dataclasses import dataclass, field
from typing import Any

import structlog
from django.conf import settings
from joserfc.errors import JoseError

from accounts.errors import ProviderRefused, ProviderUnavailable
from config.oidc_providers import Provider
from core.errors import NotFound
from core.storage.circuit_breaker import CircuitBreaker

ALGORITHMS = ["RS256", "PS256", "ES256", "ES384", "Ed25519"]
TIMEOUT = 5  # seconds, to connect and between bytes
MOST_BYTES = 1024 * 1024
CACHE_SECONDS = 3600
KEYS_AGAIN_SECONDS = 60  # an unknown key makes us look again, not more often
PAUSE_SECONDS = 5  # after it did not answer, nobody waits for it again so soon
KINDS = {"RSA", "EC", "OKP"}
LEEWAY = 30
WHOLE_SECONDS = 10  # for a whole answer, however slowly it comes
SUBJECT = re.compile(r"[\x20-\x7e]{1,255}")  # OpenID Connect Core, 2: ASCII
# What libraries raise over tokens and keys that are none; JoseError is among them.
NONSENSE = (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError, JoseError)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Claims:
    """Who somebody is at a provider.

    `email` may be empty; `verified` says whether the provider has checked it.
    """

    issuer: str
    subject: str
    email: str
    verified: bool
    name: str


@dataclass(slots=True)
class _IssuerState:
    """The metadata and keys of an issuer in this process, and whether it answers. Times are monotonic seconds."""

    metadata: dict[str, Any] = field(default_factory=dict)
    metadata_until: float = 0
    keys: Any = None
    keys_fetched_at: float = 0
    breaker: CircuitBreaker = field(default_factory=lambda: CircuitBreaker(PAUSE_SECONDS))


_issuers: dict[str, _IssuerState] = {}  # by issuer URL; as many as OIDC_PROVIDERS names


def provider(name: str) -> Provider:
    """Raises NotFound."""
    found: Provider | None = settings.OIDC_PROVIDERS.get(name)
    if found is None:
        raise NotFound
    return found


def return_url(name: str) -> str:
    """Where the provider sends the browser back to: one address for each, so that no answer is taken for
    another's.
    """
    return f"{settings.FRONT_END_URL}/oidc/{name}"


def authorization_url(name: str, *, state: str, nonce: str, verifier: str) -> str:
    """Where to send the browser. Raises NotFound, ProviderAway."""
    document = _discover(provider(name))
    with _client(name, document) as client:
        address, _ = client.create_authorization_url(
            document["authorization_endpoint"], state=state, nonce=nonce, code_verifier=verifier
        )
    return str(address)


def redeem(name: str, code: str, *, nonce: str, verifier: str) -> Claims:
    """What the code that came back proves. Raises NotFound, ProviderAway, ProviderRefused."""
    from authlib.integrations.base_client import OAuthError

    chosen = provider(name)
    document = _discover(chosen)
    try:
        with _client(name, document) as client:
            endpoint = chosen.token_endpoint or document["token_endpoint"]
            tokens = _asking(
                chosen,
                lambda: client.fetch_token(
                    endpoint,
                    grant_type="authorization_code",
                    code=code,
                    code_verifier=verifier,
                    timeout=TIMEOUT,
                    allow_redirects=False,
                ),
            )
        claims = _judge(chosen, document, tokens, nonce)
        about = claims if claims.get("email") else _userinfo(chosen, document, tokens, claims["sub"])
    except (OAuthError, *NONSENSE) as error:
        log.warning("oidc_refused", provider=name, reason=type(error).__name__, detail=str(error)[:200])
        raise ProviderRefused from None
    checked = about.get("email_verified")
    verified = checked is True or checked == "true" or chosen.trust_email
    given = str(claims.get("name") or about.get("name") or "")
    shown = "".join(character for character in given if character.isprintable())
    return Claims(chosen.issuer, claims["sub"], str(about.get("email") or ""), verified, shown[:120])


def _judge(chosen: Provider, document: dict[str, Any], tokens: dict[str, Any], nonce: str) -> dict[str, Any]:
    """The claims of an ID token that is sound. Raises JoseError, KeyError."""
    from authlib.oidc.core import CodeIDToken
    from joserfc import jwt
    from joserfc.errors import InvalidClaimError

    encoded = str(tokens["id_token"])
    token = jwt.decode(encoded, _keys(chosen, document, encoded), algorithms=ALGORITHMS)
    wanted = {
        "iss": {"essential": True, "value": chosen.issuer},
        "aud": {"essential": True, "value": chosen.client_id},
    }
    params = {"nonce": nonce, "client_id": chosen.client_id, "access_token": tokens.get("access_token")}
    claims = CodeIDToken(token.claims, token.header, wanted, params)
    claims.validate(leeway=LEEWAY)
    if not isinstance(claims["sub"], str) or not SUBJECT.fullmatch(claims["sub"]):
        raise InvalidClaimError("sub")
    return dict(claims)


def _keys(chosen: Provider, document: dict[str, Any], token: str) -> Any:
    """The issuer's keys; fetched again when the token names one that is not among them."""
    from joserfc.jwk import KeySet
    from joserfc.jws import extract_compact

    issuer = _issuers[chosen.issuer]
    kid = extract_compact(token.encode()).headers().get("kid")
    age = time.monotonic() - issuer.keys_fetched_at
    is_fresh = issuer.keys is not None and age < CACHE_SECONDS
    is_missing = issuer.keys is not None and kid and all(key.kid != kid for key in issuer.keys.keys)
    if not is_fresh or (is_missing and age > KEYS_AGAIN_SECONDS):
        published = _fetch(chosen, document["jwks_uri"])["keys"]
        # Key types that we do not support are skipped (RFC 7517 section 5).
        issuer.keys = KeySet.import_key_set({"keys": [key for key in published if key["kty"] in KINDS]})
        issuer.keys_fetched_at = time.monotonic()
    return issuer.keys


def _userinfo(
    chosen: Provider, document: dict[str, Any], tokens: dict[str, Any], subject: str
) -> dict[str, Any]:
    """What the userinfo endpoint says, for providers that keep the ID token short.

    Of somebody else it says nothing.
    """
    endpoint = document.get("userinfo_endpoint")
    bearer = tokens.get("access_token")
    if not endpoint or not bearer or "email" not in chosen.scope.split():
        return {}
    found = _fetch(chosen, endpoint, headers={"Authorization": f"Bearer {bearer}"})
    return found if found.get("sub") == subject else {}


def _client(name: str, document: dict[str, Any]) -> Any:
    from authlib.integrations.requests_client import OAuth2Session

    chosen = provider(name)
    offered = document.get("token_endpoint_auth_methods_supported")
    only_post = isinstance(offered, list) and "client_secret_basic" not in offered
    usual = "client_secret_post" if only_post else "client_secret_basic"
    client = OAuth2Session(
        chosen.client_id,
        chosen.client_secret.get_secret_value(),
        token_endpoint_auth_method=chosen.token_auth or usual,
        scope=chosen.scope,
        redirect_uri=return_url(name),
        code_challenge_method="S256",
    )
    return _bounded(client)


def _bounded(session: Any) -> Any:
    """The same session of `requests`, which now reads every answer whole, in bounded time and memory."""
    import requests
    import urllib3
    from requests.adapters import HTTPAdapter

    class Bounded(HTTPAdapter):
        def send(self, request: Any, **options: Any) -> Any:  # type: ignore[override]
            begun = time.monotonic()
            body = b""
            answer = super().send(request, **{**options, "stream": True})
            try:
                while chunk := answer.raw.read1(64 * 1024, decode_content=True):
                    body += chunk
                    if len(body) > MOST_BYTES or time.monotonic() - begun > WHOLE_SECONDS:
                        raise requests.ConnectionError("too much, or too slow")
            except urllib3.exceptions.HTTPError as error:
                raise requests.ConnectionError(type(error).__name__) from None
            finally:
                answer.close()
            answer._content = body
            return answer

    for scheme in ("https://", "http://"):
        session.mount(scheme, Bounded())
    return session


def _discover(chosen: Provider) -> dict[str, Any]:
    """The issuer's metadata (OpenID Connect Discovery 1.0), kept for an hour. Raises ProviderAway."""
    issuer = _issuers.setdefault(chosen.issuer, _IssuerState())
    if time.monotonic() > issuer.metadata_until:
        document = _fetch(chosen, f"{chosen.issuer.rstrip('/')}/.well-known/openid-configuration")
        needed = {"authorization_endpoint", "jwks_uri"} | (
            set() if chosen.token_endpoint else {"token_endpoint"}
        )
        given = needed | ({"userinfo_endpoint"} & document.keys())
        if document.get("issuer") != chosen.issuer or not all(
            _is_address(document.get(name)) for name in given
        ):
            log.error("oidc_metadata_wrong", issuer=chosen.issuer, says=str(document.get("issuer"))[:200])
            raise ProviderUnavailable
        issuer.metadata = document
        issuer.metadata_until = time.monotonic() + CACHE_SECONDS
    return issuer.metadata


def _is_address(value: Any) -> bool:
    """Whether it can be asked: over TLS, or on this machine."""
    return (
        isinstance(value, str)
        and re.fullmatch(r"https://[\w.-]+(:\d+)?(/\S*)?|http://localhost:\d+(/\S*)?", value) is not None
    )


def _fetch(chosen: Provider, address: str, headers: dict[str, str] | None = None) -> dict[str, Any]:
    """A JSON object. Raises ProviderAway."""
    import requests

    def ask() -> dict[str, Any]:
        with _bounded(requests.Session()) as session:
            answer = session.get(address, headers=headers, timeout=TIMEOUT, allow_redirects=False)
        if answer.status_code != 200:
            raise requests.ConnectionError(f"it answered {answer.status_code}")
        return dict(json.loads(answer.content))

    return _asking(chosen, ask)


def _asking(chosen: Provider, ask: Any) -> dict[str, Any]:
    """Ask the provider something.

    When it does not answer nobody asks again for a few seconds: a provider that is slow must not hold every
    thread. Raises ProviderAway.
    """
    import requests

    breaker = _issuers[chosen.issuer].breaker
    if breaker.is_open:
        raise ProviderUnavailable
    try:
        found: dict[str, Any] = ask()
    except (requests.RequestException, ValueError, TypeError, RecursionError, OverflowError) as error:
        if isinstance(
            error, requests.ConnectionError | requests.Timeout
        ):  # otherwise it answered, but wrongly
            breaker.open()
        log.warning("oidc_away", issuer=chosen.issuer, reason=type(error).__name__)
        raise ProviderUnavailable from None
    return found
