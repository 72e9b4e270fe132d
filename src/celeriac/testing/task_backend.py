"""What a backend of Django's Tasks framework promises, as tests that any backend can be put through.

Subclass it with Django's TransactionTestCase::

    class TestMyBackend(TaskBackendContract, TransactionTestCase):
        backend = {"BACKEND": "my.Backend"}

        def run_queued(self):
            run_my_worker_until_its_queue_is_empty()

Each test reads what the backend says it supports, and holds it to that.
"""

from __future__ import annotations

from celeriac.testing.backend_promises.calling import Calling
from celeriac.testing.backend_promises.finishing import Finishing
from celeriac.testing.backend_promises.refusing import Refusing
from celeriac.testing.backend_promises.scheduling import Scheduling

__all__ = ["TaskBackendContract"]


class TaskBackendContract(Calling, Finishing, Scheduling, Refusing):
    """Subclass it with ``backend`` and ``run_queued`` (see above), and Django's TransactionTestCase.

    Where a call runs its task before it returns, set ``immediate``; where the rollback of a transaction
    does not take back what was called in it, set ``transactional`` to False.
    """
