"""An HTTP proxy that does harm on request, to stand before a real S3 server."""

import http.client
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

SLOW_SECONDS = 5  # longer than the timeout of the client in the test


class FaultProxy:
    """`plan` is a list of (method, fault): the next request of that method suffers it.

    Faults: `503`, `slow`, `cut`, `flip` (the answer's body), `spoil` (the request's body), `drop` (no
    answer). `always` hits every request of a method.
    """

    def __init__(self, target: str) -> None:
        self.target = urlsplit(target)
        self.plan = []
        self.always = {}
        self.hits = []
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _serve(self):
                proxy.handle(self)

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _serve  # noqa: N815 - the library's names

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def next_fault(self, method):
        for number, (wanted, fault) in enumerate(self.plan):
            if wanted == method:
                del self.plan[number]
                return fault
        return self.always.get(method)

    def handle(self, request):
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        fault = self.next_fault(request.command)
        self.hits.append((request.command, fault))
        if fault == "503":
            self.answer(request, 503, [], b"<Error><Code>SlowDown</Code></Error>")
            return
        if fault == "drop":
            request.close_connection = True
            return
        if fault == "slow":
            time.sleep(SLOW_SECONDS)
        if fault == "spoil" and body:
            body = flipped(body)
        connection = http.client.HTTPConnection(self.target.hostname, self.target.port, timeout=30)
        headers = {
            name: value
            for name, value in request.headers.items()
            if name.lower() not in {"connection", "expect"}
        }
        connection.request(request.command, request.path, body, headers)
        found = connection.getresponse()
        content = found.read()
        connection.close()
        if fault == "flip" and content:
            content = flipped(content)
        self.answer(request, found.status, found.getheaders(), content, cut=fault == "cut")

    def answer(self, request, status, headers, content, *, cut=False):
        try:
            request.send_response_only(status)
            length = None
            for name, value in headers:
                if name.lower() == "content-length":
                    length = value
                elif name.lower() not in {"transfer-encoding", "connection"}:
                    request.send_header(name, value)
            request.send_header(
                "Content-Length", length if request.command == "HEAD" and length else str(len(content))
            )
            request.end_headers()
            if request.command != "HEAD":
                request.wfile.write(content[: len(content) // 2] if cut else content)
            if cut:
                request.close_connection = True
        except OSError:  # the client had no patience
            request.close_connection = True


def flipped(content):
    """One bit in the middle; before and after it may be what frames a body."""
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
