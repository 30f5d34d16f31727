"""An HTTP proxy that injects faults, to stand before a real S3 server."""

import http.client
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

SLOW_SECONDS = 5  # longer than the timeout of the client in the test


class FaultProxy:
    """`plan` is a list of (method, fault): the next request with that method gets the fault.

    Faults: `503`, `slow`, `cut` (half the response), `flip` (a bit of the response body), `spoil` (a bit of
    the request body), `drop` (no response). `always` maps a method to the fault of all its requests.
    """

    def __init__(self, target: str) -> None:
        self.target = urlsplit(target)
        self.plan = []
        self.always = {}
        self.requests = []
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
        for number, (planned_method, fault) in enumerate(self.plan):
            if planned_method == method:
                del self.plan[number]
                return fault
        return self.always.get(method)

    def handle(self, request):
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        fault = self.next_fault(request.command)
        self.requests.append((request.command, fault))
        if fault == "503":
            self.respond(request, 503, [], b"<Error><Code>SlowDown</Code></Error>")
            return
        if fault == "drop":
            request.close_connection = True
            return
        if fault == "slow":
            time.sleep(SLOW_SECONDS)
        if fault == "spoil" and body:
            body = flip_bit(body)
        response, content = self.forward(request, body)
        if fault == "flip" and content:
            content = flip_bit(content)
        self.respond(request, response.status, response.getheaders(), content, cut=fault == "cut")

    def forward(self, request, body):
        connection = http.client.HTTPConnection(self.target.hostname, self.target.port, timeout=30)
        headers = {
            name: value
            for name, value in request.headers.items()
            if name.lower() not in {"connection", "expect"}
        }
        connection.request(request.command, request.path, body, headers)
        response = connection.getresponse()
        content = response.read()
        connection.close()
        return response, content

    def respond(self, request, status, headers, content, *, cut=False):
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
        except OSError:  # the client closed the connection
            request.close_connection = True


def flip_bit(content):
    """Flip one bit in the middle. The beginning and the end may frame the body."""
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
