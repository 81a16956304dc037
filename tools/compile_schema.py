"""Compile tfpersist/formats/schema.proto to the descriptor set that the package loads."""

from __future__ import annotations

import pathlib
import sys

from grpc_tools import protoc

FORMATS = pathlib.Path(__file__).parent.parent / "tfpersist" / "formats"


def main() -> int:
    return int(
        protoc.main(
            [
                "protoc",
                f"--proto_path={FORMATS}",
                f"--descriptor_set_out={FORMATS / 'schema.binpb'}",
                "schema.proto",
            ]
        )
    )


if __name__ == "__main__":
    sys.exit(main())
