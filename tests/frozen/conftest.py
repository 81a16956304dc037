"""Let the tests of this folder import the small drafts of freezer/."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "freezer"))
