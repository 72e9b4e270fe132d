"""What needs kubectl, helm, checkov and kmock takes minutes: ``make manifests`` installs and runs it."""

from __future__ import annotations

import os

collect_ignore = [] if os.environ.get("CELERIAC_KUBE_TOOLS") else ["with_tools"]
