"""An S3 server on this machine, and processes that save into it and can be killed at any time."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator

import attrs

_BUCKETS = itertools.count()

# One process imports all that it takes, and a fork of it runs each job.
CLIENTS = """
import json, os, sys
import aiobotocore.session, numpy as np, s3fs
import tfpersist as tfp

# What takes a client library longest to load is loaded once.
tfp.ModelStore("memory://loaded", keep=tfp.Keep(last=1)).save({"v": np.zeros(2)}, 1)
import tfpersist.storage.remote
session = aiobotocore.session.AioSession()
loader = session.get_component("data_loader")
loader.load_service_model("s3", "service-2")
loader.load_service_model("s3", "endpoint-rule-set-1")

for line in sys.stdin:
    job = json.loads(line)
    child = os.fork()
    if not child:
        try:
            options = {**job["options"], "session": session}
            keep = tfp.Keep(last=1) if job["keep"] else None
            store = tfp.ModelStore(job["url"], storage_options=options, keep=keep)
            value = float(job["value"])
            store.save({"v": np.full(5000, value), "w": np.full((), 7.0)}, job["step"])
            result = "saved"
        except Exception as error:
            result = f"{type(error).__name__}: {error}"
        print(json.dumps(result), flush=True)
        os._exit(0)
    print(json.dumps(child), flush=True)
    os.waitpid(child, 0)
    print(json.dumps("end"), flush=True)
"""


@attrs.frozen
class Request:
    """A request that the server has answered: its method, the key, and the bytes of the answer."""

    method: str
    key: str
    size: int


@attrs.define(eq=False)
class S3Server:
    """A server of moto that counts requests, and whose answers a test can replace.

    Args:
        port: where it listens, on the loopback device.
    """

    port: int
    requests: list[Request] = attrs.field(factory=list)
    # Called with method and key before and after a request is carried out. What `before` returns is
    # the status of a refusal.
    before: Callable[[str, str], int | None] = lambda method, key: None
    after: Callable[[str, str], None] = lambda method, key: None

    @property
    def options(self) -> dict[str, object]:
        """The `storage_options` that reach it."""
        endpoint = {"endpoint_url": f"http://127.0.0.1:{self.port}"}
        return {"key": "testing", "secret": "testing", "client_kwargs": endpoint}

    def bucket(self) -> str:
        """Create a bucket, and return its URL."""
        name = f"bucket-{next(_BUCKETS)}"
        connection = http.client.HTTPConnection("127.0.0.1", self.port)
        connection.request("PUT", f"/{name}")
        assert connection.getresponse().status == 200
        connection.close()
        return f"s3://{name}"

    @contextlib.contextmanager
    def counted(self) -> Iterator[list[Request]]:
        """Yield the requests of a `with` block."""
        first = len(self.requests)
        counted: list[Request] = []
        yield counted
        counted += self.requests[first:]

    def reset(self) -> None:
        """Refuse nothing any more."""
        self.before = lambda method, key: None
        self.after = lambda method, key: None

    def wrapped(self, app: Callable) -> Callable:
        """Return the application of the server with the hooks around it."""

        def serve(environment: dict, start: Callable) -> object:
            method, key = environment["REQUEST_METHOD"], environment["PATH_INFO"]
            refusal = self.before(method, key)
            if refusal is not None:
                start(f"{refusal} Refused", [("Content-Length", "0")])
                return [b""]
            body = b"".join(app(environment, start))
            self.requests.append(Request(method, key, len(body)))
            self.after(method, key)
            return [body]

        return serve


@contextlib.contextmanager
def running() -> Iterator[S3Server]:
    """Run a server in a thread of this process."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    wrapped = S3Server(port)
    server._server.app = wrapped.wrapped(server._server.app)
    yield wrapped
    server.stop()


@attrs.define(eq=False)
class Clients:
    """Processes that use an S3 server, one after the other.

    Args:
        server: the server.
        process: what forks them.
    """

    server: S3Server
    process: subprocess.Popen
    child: int = 0

    def outcome_of(self, url: str, value: float, step: int, *, keep: bool = False) -> str | None:
        """Save in a process of its own; return "saved" or its error, or None if it was killed.

        Args:
            url: the store.
            value: what `test_object_store.values` is given.
            step: the step.
            keep: keep no other checkpoint.
        """
        line = {"url": url, "options": self.server.options}
        line |= {"value": value, "step": step, "keep": keep}
        self.child = 0
        self.process.stdin.write(json.dumps(line) + "\n")
        self.process.stdin.flush()
        said = []
        while (word := json.loads(self.process.stdout.readline())) != "end":
            if isinstance(word, int):
                self.child = word
            else:
                said.append(word)
        return said[0] if said else None

    def kill_after(self, count: int) -> None:
        """Kill the next process when the server has carried out so many of its changes.

        A process that is killed after it has only read leaves what it had left before.
        """
        left = itertools.count(count - 1, -1)

        def kill(method: str, key: str) -> None:
            if method not in ("GET", "HEAD") and next(left) == 0:
                while not self.child:
                    threading.Event().wait(0.001)
                os.kill(self.child, signal.SIGKILL)

        self.server.after = kill


@contextlib.contextmanager
def clients_of(server: S3Server) -> Iterator[Clients]:
    """Start what forks clients of a server."""
    command = [sys.executable, "-c", CLIENTS]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield Clients(server, process)
        process.stdin.close()
