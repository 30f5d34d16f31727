"""An SMTP server in a process of its own: `python -m tests.smtp_server PORT TLS CERTIFICATES FOLDER`.

TLS is `smtps`, `starttls` or `plain`. CERTIFICATES is a folder with `certificate.pem` and `key.pem`. Each
message becomes a file in FOLDER, with an `X-Over-TLS` header before its own headers.
"""

import signal
import ssl
import sys
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller

REFUSED = "refused@example.com"


class SaveToFolder:
    """An aiosmtpd handler that writes each message to `<number>.eml` and refuses the recipient REFUSED."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.count = 0

    # aiosmtpd prescribes the names of the methods.
    async def handle_RCPT(  # noqa: N802
        self, server: Any, session: Any, envelope: Any, address: str, options: list[str]
    ) -> str:
        if address == REFUSED:
            return "550 No such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        self.count += 1
        over_tls = server.transport.get_extra_info("ssl_object") is not None
        draft = self.folder / f"{self.count}.draft"
        draft.write_bytes(f"X-Over-TLS: {over_tls}\r\n".encode() + envelope.content)
        draft.rename(draft.with_suffix(".eml"))  # a reader never meets half a message
        return "250 OK"


def main() -> None:
    port, tls, certificates, folder = sys.argv[1:]
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(f"{certificates}/certificate.pem", f"{certificates}/key.pem")
    options: dict[str, dict[str, Any]] = {
        "smtps": {"ssl_context": context},
        "starttls": {"tls_context": context, "require_starttls": True},
        "plain": {},
    }
    handler = SaveToFolder(Path(folder))
    Controller(handler, hostname="localhost", port=int(port), **options[tls]).start()
    signal.pause()


if __name__ == "__main__":
    main()
