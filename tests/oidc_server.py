"""An OpenID Connect provider in a process of its own: `python -m tests.oidc_server PORT`.

It verifies what a real provider verifies: the client, the redirect URI, PKCE, and that a code is used once.
It signs every visitor in at once, with the claims that were last sent to `/control`. Other fields of it
make it misbehave, to test that the platform detects it.
"""

import base64
import contextlib
import hashlib
import hmac
import json
import secrets
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import ECKey, OKPKey, RSAKey

CLIENT_ID = "getyousite"
CLIENT_SECRET = "the client's secret"
PUBLISHED, UNPUBLISHED = (RSAKey.generate_key(2048, {"kid": kid}) for kid in ("first", "second"))
REPLACEMENT = RSAKey.generate_key(2048, {"kid": "first"})  # of the published key, under its kid
OTHER_KEYS = {
    "ES256": ECKey.generate_key("P-256", {"kid": "p256"}),
    "ES384": ECKey.generate_key("P-384", {"kid": "p384"}),
    "ES512": ECKey.generate_key("P-521", {"kid": "p521"}),
    "EdDSA": OKPKey.generate_key("Ed25519", {"kid": "ed"}),
    "Ed25519": OKPKey.generate_key("Ed25519", {"kid": "ed2"}),
}


def encode_base64url(content: bytes) -> str:
    """Base64url without padding (RFC 4648 section 5)."""
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


class OidcHandler(BaseHTTPRequestHandler):
    """The endpoints of the provider. The fields of `/control` are:

    - `claims`: override the usual claims of the ID token; null removes one
    - `key`: how the ID token is signed: `none`, `public as secret` or `unpublished`
    - `kid`: true to name the published key in the header of a token that another key signed
    - `replaced`: true to publish and use another key under the same kid
    - `second`: true to publish the key that is unpublished otherwise, under its own kid
    - `algorithm`: of the signature; `RS256` by default
    - `no_kid`: true to leave the kid out of the header
    - `userinfo_status`: of the userinfo endpoint; `signed_userinfo`: `published` or `unpublished` for a JWT
    - `userinfo`, `metadata`, `jwks`: bodies of these endpoints; `metadata` is merged into the usual one
    - `token`: status and body of the token endpoint
    - `wait`: seconds before any response; `drip`: seconds before each byte of a response
    """

    authorization_requests: dict[str, dict[str, Any]] = {}  # by code
    behaviour: dict[str, Any] = {}
    authorization_queries: list[dict[str, str]] = []

    @property
    def url(self) -> str:
        return f"http://localhost:{self.server.server_address[1]}"

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        time.sleep(self.behaviour.get("wait", 0))
        if address.path == "/.well-known/openid-configuration":
            self.respond(200, self.metadata())
        elif address.path == "/jwks":
            first = REPLACEMENT if self.behaviour.get("replaced") else PUBLISHED
            second = [UNPUBLISHED] if self.behaviour.get("second") else []
            keys = [first, *second, *OTHER_KEYS.values()]
            key_set = {"keys": [key.as_dict(private=False) for key in keys]}
            self.respond(200, self.behaviour.get("jwks", key_set))
        elif address.path == "/userinfo":
            self.respond_userinfo()
        elif address.path == "/last-authorization-request":
            self.respond(200, self.authorization_queries[-1])
        elif address.path == "/authorize":
            self.authorize({name: values[0] for name, values in parse_qs(address.query).items()})

    def metadata(self) -> dict[str, Any]:
        """OpenID Provider Metadata (OpenID Connect Discovery section 3)."""
        return {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/jwks",
            "userinfo_endpoint": f"{self.url}/userinfo",
            **self.behaviour.get("metadata", {}),
        }

    def authorize(self, query: dict[str, str]) -> None:
        """Redirect back at once with a new code."""
        self.authorization_queries.append(query)
        code = secrets.token_urlsafe(24)
        self.authorization_requests[code] = {**query, "behaviour": self.behaviour}
        redirect_query = urlencode({"code": code, "state": query["state"], "iss": self.url})
        self.send_response(302)
        self.send_header("Location", f"{query['redirect_uri']}?{redirect_query}")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/control":
            type(self).behaviour = json.loads(body)
            self.respond(200, {})
            return
        time.sleep(self.behaviour.get("wait", 0))
        if "token" in self.behaviour:
            self.respond(*self.behaviour["token"])
            return
        self.exchange_code({name: values[0] for name, values in parse_qs(body.decode()).items()})

    def exchange_code(self, form: dict[str, str]) -> None:
        """The token endpoint: verify the client and the code, then return an ID token."""
        request = self.authorization_requests.pop(form.get("code", ""), None)
        encoded = "Basic " + encode_credentials(urlencode({CLIENT_ID: CLIENT_SECRET}).replace("=", ":"))
        plain = "Basic " + encode_credentials(f"{CLIENT_ID}:{CLIENT_SECRET}")
        if self.headers["Authorization"] not in {encoded, plain}:
            self.respond(401, {"error": "invalid_client"})
        elif not request or not is_valid_exchange(request, form):
            self.respond(400, {"error": "invalid_grant"})
        else:
            tokens = {
                "access_token": "for userinfo",
                "token_type": "Bearer",
                "expires_in": 60,
                "id_token": self.id_token(request),
            }
            self.respond(200, tokens)

    def id_token(self, request: dict[str, Any]) -> str:
        """The ID token for an authorization request, with the claims and the key that were configured."""
        behaviour = request["behaviour"]
        now = int(time.time())
        claims = {
            "iss": self.url,
            "aud": CLIENT_ID,
            "sub": "248289761001",
            "exp": now + 300,
            "iat": now,
            "nonce": request["nonce"],
            "email": "ada@example.com",
            "email_verified": True,
            "name": "Ada",
            **behaviour.get("claims", {}),
        }
        claims = {name: value for name, value in claims.items() if value is not None}
        if behaviour.get("key") in {"none", "public as secret"}:
            return unsigned_token(claims, algorithm="none" if behaviour["key"] == "none" else "HS256")
        algorithm = behaviour.get("algorithm", "RS256")
        key = REPLACEMENT if behaviour.get("replaced") else PUBLISHED
        key = UNPUBLISHED if behaviour.get("key") == "unpublished" else OTHER_KEYS.get(algorithm, key)
        header = {"alg": algorithm, "kid": "first" if behaviour.get("kid") else key.kid}
        if behaviour.get("no_kid"):
            del header["kid"]
        return jwt.encode(header, claims, key, algorithms=[algorithm])

    def respond_userinfo(self) -> None:
        """The userinfo endpoint."""
        claims = self.behaviour.get("userinfo", {})
        if signer := self.behaviour.get("signed_userinfo"):
            key = PUBLISHED if signer == "published" else UNPUBLISHED
            token = jwt.encode({"alg": "RS256", "kid": "first"}, claims, key)
            self.respond(200, token, content_type="application/jwt")
        else:
            self.respond(self.behaviour.get("userinfo_status", 200), claims)

    def respond(self, status: int, body: Any, *, content_type: str = "application/json") -> None:
        """Send `body` as JSON; a string is sent as it is, so that it may be invalid JSON."""
        content = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if "drip" in self.behaviour and not self.path.startswith("/control"):
            with contextlib.suppress(OSError):
                for byte in content:
                    time.sleep(self.behaviour["drip"])
                    self.wfile.write(bytes([byte]))
            return
        with contextlib.suppress(OSError):  # the client may have closed the connection
            self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Log nothing."""


def encode_credentials(pair: str) -> str:
    """The credentials of HTTP Basic authentication (RFC 7617)."""
    return base64.b64encode(pair.encode()).decode()


def is_valid_exchange(request: dict[str, Any], form: dict[str, str]) -> bool:
    """Whether the form has the PKCE verifier (RFC 7636) and the redirect URI of the authorization request."""
    verifier = form.get("code_verifier", "")
    challenge = encode_base64url(hashlib.sha256(verifier.encode()).digest())
    return bool(
        request["code_challenge"] == challenge
        and request["code_challenge_method"] == "S256"
        and request["redirect_uri"] == form["redirect_uri"]
    )


def unsigned_token(claims: dict[str, Any], *, algorithm: str) -> str:
    """A forged ID token: with algorithm `none`, or with `HS256` and the public key as the shared secret."""
    header = {"alg": algorithm, "kid": "first"}
    signed = ".".join(encode_base64url(json.dumps(part).encode()) for part in (header, claims))
    if algorithm == "none":
        return f"{signed}."
    mac = hmac.digest(PUBLISHED.as_pem(private=False), signed.encode(), "sha256")
    return f"{signed}.{encode_base64url(mac)}"


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), OidcHandler).serve_forever()
