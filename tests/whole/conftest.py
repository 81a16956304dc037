"""Let the tests of this folder import the simulated disk of the storage's tests."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "storage"))
