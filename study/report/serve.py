"""The page in a browser on this machine; it reloads when the file changes."""

import hashlib
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from study.store.storage import Storage

HOST = "127.0.0.1"
NAMES = (HOST, "localhost")
LOOK_EVERY_S = 2.0
# The page loads nothing else; it asks its own address whether it has changed.
_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; media-src data:; "
    "connect-src 'self'"
)


class PageServer(ThreadingHTTPServer):
    """Serves this one file, on loopback alone; OSError if the port cannot be used."""

    def __init__(self, storage: Storage, path: str, port: int) -> None:
        self._storage, self._path = storage, path
        self._read_at, self._content = -LOOK_EVERY_S, b""
        try:
            super().__init__((HOST, port), _Handler)
        except OSError as error:
            raise OSError(f"port {port} of {HOST} cannot be used ({error.strerror}); give another --port") from None

    @property
    def address(self) -> str:
        return f"http://{HOST}:{self.server_port}/"

    def content(self) -> bytes:
        """The page, read again after a while."""
        if time.monotonic() - self._read_at >= LOOK_EVERY_S:
            self._content, self._read_at = self._storage.read(self._path), time.monotonic()
        return self._content


class _Handler(BaseHTTPRequestHandler):
    server: PageServer  # pyright: ignore[reportIncompatibleVariableOverride]

    def do_GET(self) -> None:
        self.wfile.write(self._head())

    def do_HEAD(self) -> None:
        self._head()

    def _head(self) -> bytes:
        """Answers all but the body, which it returns."""
        # A forwarded port may differ; another host name means that a foreign page asks.
        if (self.headers.get("Host") or "").lower().rsplit(":", 1)[0] not in NAMES:
            self.send_error(403, f"ask for {' or '.join(NAMES)}")
            return b""
        if self.path != "/":
            self.send_error(404)
            return b""
        try:
            content = self.server.content()
        except OSError as error:
            self.send_error(503, explain=str(error))
            return b""
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()[:32]}"')
        self.send_header("Cache-Control", "no-store")
        self.send_header("Content-Security-Policy", _POLICY)
        self.end_headers()
        return content

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


def serve(storage: Storage, path: str, port: int) -> None:
    """Serves the page until it is interrupted."""
    with PageServer(storage, path, port) as server:
        print(f"Page: {server.address} (Ctrl-C ends)", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print()
