"""A sign-in provider (OpenID Connect) in a process of its own: `python -m tests.oidc_issuer PORT`.

It checks what a real one checks: client, redirect address, PKCE, and that a code is used once. Whoever comes
is signed in at once, as the claims say that were last sent to `/control`; the other fields there make it lie.
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
from joserfc.jwk import RSAKey

CLIENT = "getyousite"
SECRET = "the client's secret"
PUBLISHED, UNPUBLISHED = (RSAKey.generate_key(2048, {"kid": kid}) for kid in ("first", "second"))


def _text(part: bytes) -> str:
    return base64.urlsafe_b64encode(part).decode().rstrip("=")


class Issuer(BaseHTTPRequestHandler):
    """`said` is what `/control` was sent: `claims` over the usual ones (null removes one), `key`, `userinfo`,
    `metadata`, `token` (status and body of the token endpoint), `jwks` (its keys), `wait` (seconds before any
    answer), `drip` (seconds before each byte).
    """

    codes: dict[str, dict[str, Any]] = {}
    said: dict[str, Any] = {}
    seen: list[dict[str, str]] = []

    @property
    def url(self) -> str:
        return f"http://localhost:{self.server.server_address[1]}"

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        query = {key: value[0] for key, value in parse_qs(urlsplit(self.path).query).items()}
        time.sleep(self.said.get("wait", 0))
        if path == "/.well-known/openid-configuration":
            names = {"authorization_endpoint": "authorize", "token_endpoint": "token", "jwks_uri": "jwks"}
            metadata = {"issuer": self.url, **{name: f"{self.url}/{value}" for name, value in names.items()}}
            self.answer(
                200,
                {**metadata, "userinfo_endpoint": f"{self.url}/userinfo", **self.said.get("metadata", {})},
            )
        elif path == "/jwks":
            self.answer(200, self.said.get("jwks", {"keys": [PUBLISHED.as_dict(private=False)]}))
        elif path == "/userinfo":
            self.answer(200, self.said.get("userinfo", {}))
        elif path == "/seen":
            self.answer(200, self.seen[-1])
        elif path == "/authorize":
            self.authorize(query)

    def authorize(self, query: dict[str, str]) -> None:
        self.seen.append(query)
        code = secrets.token_urlsafe(24)
        self.codes[code] = {**query, "said": self.said}
        back = urlencode({"code": code, "state": query["state"], "iss": self.url})
        self.send_response(302)
        self.send_header("Location", f"{query['redirect_uri']}?{back}")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/control":
            type(self).said = json.loads(body)
            self.answer(200, {})
            return
        time.sleep(self.said.get("wait", 0))
        if "token" in self.said:
            self.answer(*self.said["token"])
            return
        form = {key: value[0] for key, value in parse_qs(body.decode()).items()}
        asked = self.codes.pop(form.get("code", ""), None)
        proof = (
            base64.urlsafe_b64encode(hashlib.sha256(form.get("code_verifier", "").encode()).digest())
            .decode()
            .rstrip("=")
        )
        basic = "Basic " + base64.b64encode(urlencode({CLIENT: SECRET}).replace("=", ":").encode()).decode()
        plain = "Basic " + base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode()
        if self.headers["Authorization"] not in {basic, plain}:
            self.answer(401, {"error": "invalid_client"})
        elif (
            not asked
            or asked["code_challenge"] != proof
            or asked["code_challenge_method"] != "S256"
            or asked["redirect_uri"] != form["redirect_uri"]
        ):
            self.answer(400, {"error": "invalid_grant"})
        else:
            self.answer(
                200,
                {
                    "access_token": "for userinfo",
                    "token_type": "Bearer",
                    "expires_in": 60,
                    "id_token": self.id_token(asked),
                },
            )

    def id_token(self, asked: dict[str, Any]) -> str:
        said = asked["said"]
        now = int(time.time())
        usual = {
            "iss": self.url,
            "aud": CLIENT,
            "sub": "248289761001",
            "exp": now + 300,
            "iat": now,
            "nonce": asked["nonce"],
        }
        claims = {
            **usual,
            "email": "ada@example.com",
            "email_verified": True,
            "name": "Ada",
            **said.get("claims", {}),
        }
        claims = {name: value for name, value in claims.items() if value is not None}
        if said.get("key") in {"none", "public as secret"}:  # the latter: RS256 to HS256, the old confusion
            alg = "none" if said["key"] == "none" else "HS256"
            signed = ".".join(
                _text(json.dumps(part).encode()) for part in ({"alg": alg, "kid": "first"}, claims)
            )
            mac = hmac.digest(PUBLISHED.as_pem(private=False), signed.encode(), "sha256")
            return f"{signed}.{_text(mac) if alg == 'HS256' else ''}"
        key = UNPUBLISHED if said.get("key") == "unpublished" else PUBLISHED
        header = {"alg": "RS256", "kid": "first" if said.get("kid") else key.kid}
        return jwt.encode(header, claims, key)

    def answer(self, status: int, body: Any) -> None:
        content = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if "drip" in self.said and not self.path.startswith("/control"):
            with contextlib.suppress(OSError):
                for byte in content:
                    time.sleep(self.said["drip"])
                    self.wfile.write(bytes([byte]))
            return
        with contextlib.suppress(OSError):  # whoever asked has heard enough
            self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        pass


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Issuer).serve_forever()
