"""Let the tests of this folder import the helpers of the tests of storages."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "storage"))
