"""Save 64 MB into an S3 server of this machine and restore it, beside plain copies of the bytes.

    python benchmarks/object_store.py [--rounds 9] [--megabytes 64]

The server is moto, in a process of its own; it takes most of the time, so only the ratios say
something. A plain copy sends or fetches the same bytes with s3fs: a `PUT` for each data file, or
the ranges that a restore reads, eight at once. Orbax 0.12 takes no s3:// paths.
"""

from __future__ import annotations

import contextlib
import http.client
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import harness
import numpy as np

SERVER = """
import logging, sys
from moto.server import ThreadedMotoServer
logging.getLogger("werkzeug").setLevel(logging.ERROR)
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
"""
PIECE = 16 << 20


@contextlib.contextmanager
def running():
    """Run the server; yield the file system that reaches it."""
    import s3fs

    command = [sys.executable, "-c", SERVER]
    with subprocess.Popen(command, stdin=-1, stdout=-1, text=True) as process:
        port = int(process.stdout.readline())
        connection = http.client.HTTPConnection("127.0.0.1", port)
        connection.request("PUT", "/bucket")
        connection.getresponse().read()
        endpoint = {"endpoint_url": f"http://127.0.0.1:{port}"}
        yield s3fs.S3FileSystem(key="key", secret="secret", client_kwargs=endpoint)
        process.stdin.close()


def main():
    options = harness.arguments(megabytes=64)
    import tfpersist as tfp

    values = {f"w{n}": np.random.random(options.megabytes << 14) for n in range(8)}
    with running() as system:
        saved = tfp.ModelStore("s3://bucket/saved", storage_options=system)
        restored = tfp.ModelStore("s3://bucket/restored", storage_options=system)
        restored.save(values, 1)
        listed = system.ls("bucket/restored", detail=True)
        files = {one["name"]: one["size"] for one in listed if ".data-" in one["name"]}
        contents = [system.cat_file(name) for name in files]
        ranges = [
            (name, start, min(start + PIECE, size))
            for name, size in files.items()
            for start in range(0, size - 4096, PIECE)
        ]

        def send():
            with ThreadPoolExecutor(len(contents)) as threads:
                list(threads.map(system.pipe_file, map("bucket/{}".format, files), contents))

        def fetch():
            system.cat_ranges(*map(list, zip(*ranges, strict=True)), batch_size=8)

        work = {
            "save": {harness.OURS: lambda: saved.save(values, 1), "PUT": send},
            "restore": {harness.OURS: lambda: restored.restore(values), "GET": fetch},
        }
        for verb, contenders in work.items():
            other = next(name for name in contenders if name != harness.OURS)
            harness.report(
                f"object_store_{verb}",
                f"{verb} {options.megabytes} MB in 8 tensors, S3 server on this machine",
                harness.alternate(contenders, options.rounds),
                against={other: 0.83},
            )


if __name__ == "__main__":
    main()
