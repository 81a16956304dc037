"""A server of Google Cloud Storage on this machine: the emulator, with a record of its requests.

The emulator takes no notice of the conditions of a request, so a test answers for it where one
does not hold: https://cloud.google.com/storage/docs/request-preconditions.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import re
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import ThreadingHTTPServer
from urllib.parse import unquote

import attrs

_BUCKETS = itertools.count()
_NAME = re.compile(rb'"name": *"([^"]+)"')
# gcsfs asks by gRPC what kind a bucket is, which the emulator does not answer. It reads this at its
# import.
os.environ["GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT"] = "false"


@attrs.define(eq=False)
class GcsServer:
    """A running emulator.

    Args:
        port: where it listens, on the loopback device.
        storage: what it holds.
    """

    port: int
    storage: object
    requests: list[tuple[str, str]] = attrs.field(factory=list)
    # Called with the method and the target of a request, and the name of the object in an upload,
    # before it is carried out; it returns the status of a refusal.
    before: Callable[[str, str], int | None] = lambda method, target: None

    @property
    def options(self) -> dict[str, object]:
        """The `storage_options` that reach it."""
        endpoint = f"http://127.0.0.1:{self.port}"
        return {"endpoint_url": endpoint, "token": "anon", "project": "testing"}

    def bucket(self) -> str:
        """Create a bucket, and return its URL."""
        from gcp_storage_emulator.handlers import buckets

        name = f"bucket-{next(_BUCKETS)}"
        assert buckets.create_bucket(name, self.storage)
        return f"gs://{name}"

    def reset(self) -> None:
        """Refuse nothing any more, and forget the requests."""
        self.before = lambda method, target: None
        self.requests.clear()


def _handler_of(server: GcsServer) -> type:
    from gcp_storage_emulator.server import RequestHandler

    class Handler(RequestHandler):
        def parse_request(self) -> bool:
            if not super().parse_request():
                return False
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.rfile = io.BytesIO(body)
            # An upload in one request has the name of the object in its first part, as JSON.
            named = _NAME.search(body) if "uploadType=multipart" in self.path else None
            target = unquote(self.path) + (f" {named[1].decode()}" if named else "")
            server.requests.append((self.command, target))
            refusal = server.before(self.command, target)
            if refusal is not None:
                self.send_error(refusal)
            return refusal is None

    return Handler


@contextlib.contextmanager
def running() -> Iterator[GcsServer]:
    """Run a server in threads of this process."""
    from gcp_storage_emulator.storage import Storage

    class Listener(ThreadingHTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            """Print nothing: gcsfs closes a connection when it has read what it asked for."""

    storage = Storage(use_memory_fs=True)
    server = GcsServer(0, storage)
    listener = Listener(("127.0.0.1", 0), partial(_handler_of(server), storage))
    server.port = listener.server_address[1]
    thread = threading.Thread(target=listener.serve_forever, daemon=True)
    thread.start()
    yield server
    listener.shutdown()
    listener.server_close()
    thread.join()
