"""Public helpers for testing brokers and applications on Celeriac; they need pytest and hypothesis.

May import: core, brokers, django.
Read first: contract.py. What needs Django is imported by its module: task_backend.py.
"""

import pytest

# Whoever subclasses the contract sees what an assertion compared, as in tests of their own.
pytest.register_assert_rewrite(
    "celeriac.testing.backend_promises", "celeriac.testing.crash", "celeriac.testing.promises"
)

from celeriac.testing.contract import BrokerContract  # noqa: E402 - after the line above
from celeriac.testing.crash import CrashContract  # noqa: E402

__all__ = ["BrokerContract", "CrashContract"]
