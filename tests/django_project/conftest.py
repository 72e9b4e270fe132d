"""``suite`` is collected only in a process of its own, which Django is set up in (test_suite.py)."""

from __future__ import annotations

import os

collect_ignore = [] if "FOLDER" in os.environ else ["suite"]
