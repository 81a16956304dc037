"""Let the tests of this folder import `saved_graphs`, which lies beside them."""

from __future__ import annotations

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))
