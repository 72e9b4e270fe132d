"""The promises of :mod:`celeriac.core.broker` as one test class that any broker can be put through.

Subclass it in a test module::

    class TestMyBroker(BrokerContract):
        @pytest.fixture
        def broker(self, tmp_path):
            self.path = tmp_path / "store"
            broker = MyBroker(self.path)
            yield broker
            broker.close()

        def reopen(self):
            return MyBroker(self.path)
"""

from __future__ import annotations

from celeriac.testing.promises.burying import Burying
from celeriac.testing.promises.claiming import Claiming
from celeriac.testing.promises.delaying import Delaying
from celeriac.testing.promises.fan_out import FanningOut
from celeriac.testing.promises.looking import Looking
from celeriac.testing.promises.random_verbs import RandomVerbs
from celeriac.testing.promises.recovering import Evicting, Reaping
from celeriac.testing.promises.settling import Settling
from celeriac.testing.promises.sharing import Sharing

__all__ = ["BrokerContract"]


class BrokerContract(
    Claiming, Settling, Reaping, Evicting, Delaying, Burying, Looking, Sharing, FanningOut, RandomVerbs
):
    """Subclass it with a fixture ``broker`` and, for a shared broker, ``reopen`` (see above).

    Define ``unreachable`` too where there is such a thing. Each test reads ``broker.features``, so a
    broker is held to what it declares; time is moved by arguments, so no test waits for a lease.
    """
