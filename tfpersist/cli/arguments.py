"""Parse the arguments that several verbs share."""

from __future__ import annotations

import argparse
from typing import TypeAlias

Verbs: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"

CHECKPOINT = "a prefix, a directory, any file of a checkpoint, or a URL"
