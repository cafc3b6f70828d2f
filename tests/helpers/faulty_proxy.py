"""Between a client and an S3 server: passes requests on, with one thing wrong."""

import contextlib
import email.utils
import http.client
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from urllib.parse import urlsplit

from loopback_server import served


@dataclass(frozen=True)
class Fault:
    """What is wrong.

    Attributes:
        takes_all: whether a write under a condition succeeds although the condition is not met.
        refuses: a method that is answered with AccessDenied.
        says: the code of an error that answers every request.
        damages: objects of more bytes than this come back with their last one changed.
        seconds_off: of the server's clock.
    """

    takes_all: bool = False
    refuses: str = ""
    says: str = ""
    damages: int | None = None
    seconds_off: float = 0


@contextlib.contextmanager
def faulty_proxy(endpoint_url: str, fault: Fault) -> Iterator[str]:
    """Run a proxy on loopback for a while; yields its URL."""
    target = urlsplit(endpoint_url).netloc

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def pass_on(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if fault.says or self.command == fault.refuses:
                code = fault.says or "AccessDenied"
                self.answer(403, {}, f"<Error><Code>{code}</Code></Error>".encode())
                return
            if fault.takes_all and self.headers.get("If-None-Match"):
                self.answer(200, {}, b"")
                return
            upstream = http.client.HTTPConnection(target, timeout=30)
            # The host is part of what the client has signed.
            upstream.request(self.command, self.path, body or None, dict(self.headers))
            response = upstream.getresponse()
            content = response.read()
            upstream.close()
            if self.command == "GET" and fault.damages is not None and len(content) > fault.damages:
                content = content[:-1] + bytes([content[-1] ^ 1])
            self.answer(response.status, dict(response.getheaders()), content)

        def answer(self, status: int, headers: dict[str, str], content: bytes) -> None:
            self.send_response_only(status)
            sizes = {"content-length", "transfer-encoding", "connection", "date"}
            for name, value in headers.items():
                if name.lower() not in sizes:
                    self.send_header(name, value)
            self.send_header(
                "Date", email.utils.formatdate(time.time() + fault.seconds_off, usegmt=True)
            )
            length = headers.get("Content-Length", "0") if self.command == "HEAD" else len(content)
            self.send_header("Content-Length", str(length))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = pass_on

        def log_message(self, format: str, *args: object) -> None:
            pass

    with served(Handler) as address:
        yield f"http://{address}"
