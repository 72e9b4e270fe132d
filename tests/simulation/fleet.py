"""Nodes with real supervisors and shards, producers, and the faults that befall them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from celeriac.core.broker import Broker
from celeriac.core.errors import BrokerUnavailable
from celeriac.core.events import Events
from celeriac.engine.shard import Shard, ShardSpec
from celeriac.engine.supervisor import Supervisor
from tests.simulation.jobs import Observer, ScriptedExecutor
from tests.simulation.judge import Judge
from tests.simulation.link import Link, Weather
from tests.simulation.plan import MOST_AHEAD, MOST_BEHIND, Fault, Plan, Sending
from tests.simulation.witness import Witness
from tests.simulation.world import Machine, Process, World

__all__ = ["Fleet", "Node"]

#: The longest pause that the engine makes between two tries to reach its broker.
_LONGEST_RETRY = 5.0


class Node:
    """A machine with one worker on it: a supervisor and its shards."""

    def __init__(self, fleet: Fleet, number: int) -> None:
        self.fleet = fleet
        self.machine = Machine(
            fleet.world, f"node {number}", fleet.plan.skews[number % len(fleet.plan.skews)]
        )
        self.stopping = self.cold = False
        self.shard_processes: list[Process] = []
        self.supervisor: Supervisor | None = None
        self.process = Process(self.machine, self.machine.name, self._supervise)
        self.process.handler = self.stop

    def stop(self) -> None:
        """Ask the supervisor to shut down warm."""
        self.stopping = True

    def _supervise(self) -> None:
        fleet, world = self.fleet, self.fleet.world
        self.supervisor = supervisor = Supervisor(
            fleet.link(),
            fleet.plan.settings,
            Events(),
            node=self.machine.name,
            queues=["q"],
            count=fleet.plan.shards,
            launch=self._run_shard,
            on_buried=lambda _letter: None,
        )
        supervisor.start()
        while not self.stopping:
            supervisor.tick()
            world.sleep(supervisor.pause * fleet.plan.tick)
        if self.cold:
            fleet.judge.killed_on_purpose |= {s.spec.owner for s in supervisor.shards.values()}
            supervisor.kill()
        else:
            supervisor.stop()
        while not supervisor.finished:
            supervisor.tick()
            world.sleep(supervisor.pause)

    def _run_shard(self, spec: ShardSpec) -> None:
        fleet, world = self.fleet, self.fleet.world
        process = world.process
        fleet.judge.owners[spec.owner] = process
        self.shard_processes.append(process)
        publish = fleet.link()
        executor = ScriptedExecutor(
            world, fleet.witness, fleet.observer, lambda message: publish.send([message]), fleet.store
        )
        shard = Shard(spec, fleet.link(), executor, fleet.plan.settings, Events())
        process.handler = shard.stop
        shard.run()


class Fleet:
    """Everything that lives in one schedule."""

    def __init__(self, world: World, plan: Plan, broker: Broker) -> None:
        self.world = world
        self.plan = plan
        self.broker = broker
        self.weather = Weather(world, world.random)
        self.witness = Witness(world, plan.settings.engine_max_deliveries)
        self.observer = Observer(world, self.witness)
        self.judge = Judge(world, self.witness, self.observer)
        self.nodes: list[Node] = []
        self.producers: list[Process] = []

    def link(self) -> Link:
        """A new connection to the broker."""
        return Link(self.world, self.weather, self.broker, self.witness, self.judge)

    def start(self) -> None:
        """Start nodes and producers, and arrange the faults."""
        for _ in range(self.plan.nodes):
            self._start_node()
        for number, sendings in enumerate(self.plan.sendings):
            machine = Machine(self.world, f"producer {number}", 0.0)
            self.producers.append(Process(machine, machine.name, partial(self._produce, sendings)))
        for fault in self.plan.faults:
            inject = partial(self._inject, fault)
            if fault.step:
                self.world.armed[fault.step, fault.nth] = inject
            else:
                self.world.after(fault.at, partial(inject, None))

    @property
    def quiet(self) -> bool:
        """Whether nothing is left to be sent or to be done."""
        return self.witness.quiet and not any(producer.alive for producer in self.producers)

    def calm(self) -> None:
        """Let nothing go wrong from now on, and have a node that is well."""
        self.world.armed.clear()
        self.weather.losing = 0
        if not any(node.process.alive and not node.stopping for node in self.nodes):
            self._start_node()

    def store(self) -> None:
        """The way to the result store."""
        self.world.sleep(self.weather.delay())
        if self.world.now < self.weather.store_out_until:
            raise BrokerUnavailable("the result store is down")

    def _start_node(self) -> None:
        node = Node(self, len(self.nodes) + 1)
        self.world.say(node.machine.name, "starts")
        self.nodes.append(node)

    def _produce(self, sendings: list[Sending]) -> None:
        link = self.link()
        for sending in sendings:
            self.world.sleep(sending.pause)
            try:
                link.send([call.message(call.due if sending.native else None) for call in sending.calls])
            except BrokerUnavailable:
                continue  # whether it was accepted is known to the witness

    # -- Faults

    def _inject(self, fault: Fault, process: Process | None) -> None:
        """Do the fault where it is due: to the process that reached its step, or to any."""
        node = self._node_of(process) or self.nodes[fault.node % len(self.nodes)]
        where = process.name if process is not None else node.machine.name
        self.world.say(
            "fault", f"{fault.kind}, {where}{', at ' + fault.step if fault.step else ''}, {fault.seconds:g} s"
        )
        self.world.injected[fault.kind] += 1
        act: Callable[[Fault, Node, Process | None], None] = getattr(self, "_" + fault.kind.replace(" ", "_"))
        act(fault, node, process)

    def _node_of(self, process: Process | None) -> Node | None:
        return next((node for node in self.nodes if process in node.machine.processes), None)

    def _replace(self, after: float) -> None:
        self.world.after(after, self._start_node)

    def _kill_process(self, fault: Fault, node: Node, process: Process | None) -> None:
        victim = process or self.world.random.choice(node.machine.processes)
        if victim is node.process:
            self._replace(fault.seconds / 2)
        victim.kill()

    def _kill_shard(self, fault: Fault, node: Node, process: Process | None) -> None:
        living = [shard for shard in node.shard_processes if shard.alive]
        if living:
            self.world.random.choice(living).kill()

    def _kill_supervisor(self, fault: Fault, node: Node, process: Process | None) -> None:
        self._replace(fault.seconds / 2)
        node.process.kill()

    def _kill_node(self, fault: Fault, node: Node, process: Process | None) -> None:
        self._replace(fault.seconds / 2)
        node.machine.kill()

    def _pause_process(self, fault: Fault, node: Node, process: Process | None) -> None:
        victim = process or self.world.random.choice(node.machine.processes)
        victim.pause(fault.seconds)
        victim.machine.disturb(fault.seconds + self.plan.settings.engine_lease_seconds)

    def _pause_node(self, fault: Fault, node: Node, process: Process | None) -> None:
        node.machine.pause(fault.seconds)
        node.machine.disturb(fault.seconds + self.plan.settings.engine_lease_seconds)

    def _broker_outage(self, fault: Fault, node: Node, process: Process | None) -> None:
        self.weather.out_until = self.world.now + fault.seconds
        self._disturb_all(fault.seconds)

    def _slow_broker(self, fault: Fault, node: Node, process: Process | None) -> None:
        self.weather.slow_until = self.world.now + fault.seconds
        self._disturb_all(fault.seconds)

    def _lost_answers(self, fault: Fault, node: Node, process: Process | None) -> None:
        self.weather.losing += 1 + fault.nth % 3
        self._disturb_all(1.0)

    def _result_store_outage(self, fault: Fault, node: Node, process: Process | None) -> None:
        self.weather.store_out_until = self.world.now + fault.seconds
        lease = self.plan.settings.engine_lease_seconds
        self.world.orphans_disturbed_until = self.weather.store_out_until + _LONGEST_RETRY + lease

    def _clock_step(self, fault: Fault, node: Node, process: Process | None) -> None:
        node.machine.skew = self.world.random.uniform(MOST_BEHIND, MOST_AHEAD)

    def _warm_stop(self, fault: Fault, node: Node, process: Process | None) -> None:
        self._replace(fault.seconds / 2)
        node.stopping = True

    def _cold_stop(self, fault: Fault, node: Node, process: Process | None) -> None:
        self._replace(fault.seconds / 2)
        node.stopping = node.cold = True

    def _disturb_all(self, seconds: float) -> None:
        self.world.disturb(seconds + _LONGEST_RETRY + self.plan.settings.engine_lease_seconds)
