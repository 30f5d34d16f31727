"""Public documents that are the same for everyone until the next start, such as JSON Schemas.

They are rendered once in a process, and served compressed and with an ETag. Also chooses the content coding
of other responses.
"""

import gzip
import hashlib
import threading
from collections.abc import Callable
from functools import lru_cache

import brotli
from django.http import HttpRequest, HttpResponse

from core.http.preconditions import matches_if_none_match

MAX_HEADER_CHARACTERS = 260  # of an Accept-Encoding header that is read; its parts are cached


def choose_encoding(accept_encoding: str) -> str:
    """Return `br`, `gzip` or `identity` for an Accept-Encoding header (RFC 9110 section 12.5.3)."""
    return _choose_encoding(accept_encoding[:MAX_HEADER_CHARACTERS])


@lru_cache(maxsize=1024)
def _choose_encoding(accept_encoding: str) -> str:
    weights: dict[str, float] = {}
    for item in accept_encoding.lower().split(","):
        name, _, parameter = item.partition(";")
        quality = parameter.strip().removeprefix("q=")
        try:
            weights[name.strip()] = float(quality) if quality else 1.0
        except ValueError:
            weights[name.strip()] = 0.0
    return next((name for name in ("br", "gzip") if weights.get(name, 0) > 0), "identity")


class RenderedDocument:
    """A view of the bytes that `render()` returns. Callers that come while it runs wait for its result."""

    def __init__(self, render: Callable[[], bytes], *, content_type: str, cache_control: str) -> None:
        self.render = render
        self.headers = {
            "Content-Type": content_type,
            "Cache-Control": cache_control,
            "Vary": "Accept-Encoding",
        }
        self._variants: dict[str, bytes] = {}
        self._etag = ""
        self._lock = threading.Lock()

    def __call__(self, request: HttpRequest) -> HttpResponse:
        with self._lock:
            if not self._variants:
                self._set_body(self.render())
        encoding = choose_encoding(request.headers.get("Accept-Encoding", ""))
        etag = f'"{self._etag}-{encoding}"'
        headers = {**self.headers, "ETag": etag}
        if matches_if_none_match(request.headers.get("If-None-Match", ""), etag):
            return HttpResponse(status=304, headers=headers)
        if encoding != "identity":
            headers["Content-Encoding"] = encoding
        return HttpResponse(self._variants[encoding], headers=headers)

    def _set_body(self, body: bytes) -> None:
        self._etag = hashlib.sha256(body).hexdigest()[:32]
        self._variants = {
            "identity": body,
            "gzip": gzip.compress(body, 9, mtime=0),
            "br": brotli.compress(body, quality=9),
        }
