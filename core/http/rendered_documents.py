"""Public documents that are the same for everyone until the next start, such as JSON Schemas.

They are rendered once in a process, and served compressed and with an ETag.
"""

import gzip
import hashlib
import threading
from collections.abc import Callable

import brotli
from django.http import HttpRequest, HttpResponse

from core.http.content_encoding import choose_encoding
from core.http.preconditions import matches_if_none_match


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
