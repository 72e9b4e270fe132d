"""Messages in Redis, in kombu's own lists and envelope, claimed in batches by Lua.

Stock Celery producers and workers can use the same queues: what waits lies in the lists where kombu
looks for it; what is leased lies in lists of ours, where it does not. The keys are described in
redis.lua.
"""

from __future__ import annotations

import os
import re
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import count, groupby
from operator import attrgetter
from pathlib import Path
from typing import Any

from celeriac.brokers.redis_board import RedisBoard
from celeriac.brokers.redis_client import connection_options, open_client, refusal, translated
from celeriac.brokers.redis_doorbell import Doorbell
from celeriac.brokers.redis_large import LARGE, MARK, LargeClaims, most_at_a_time
from celeriac.brokers.redis_line import Line, Script
from celeriac.brokers.redis_lists import Lists, Source
from celeriac.brokers.redis_pusher import Pusher
from celeriac.core.broker import Features, Promoted, QueueStats
from celeriac.core.errors import BrokerUnavailable
from celeriac.core.lease import Claimed, DeadLetter, Eviction, Lease, Reaped, Scheduled
from celeriac.core.message import Message
from celeriac.core.watch import Memory

__all__ = ["RedisBroker", "drop_delayed"]

_SEND_CHUNK = 1000
_CLAIM_MAX = 4000  # Lua's unpack() takes some 8,000 values
_destination = attrgetter("queue", "priority")


class RedisBroker:
    """Talks to one Redis database; redis-py's connections survive a fork by themselves."""

    features = Features(persistent=True, shared=True, blocking_wait=True, priorities=True, celery_wire=True)
    #: Mean bytes of the messages claimed last from which on ``LargeClaims`` makes the next claim.
    large_from = LARGE

    def __init__(
        self,
        url: str,
        *,
        key_prefix: str = "",
        priority_steps: Sequence[int] = (0, 3, 6, 9),
        separator: str = "\x06\x16",
        connection: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        """``connection`` is for redis-py, ``options`` are kombu's; raise as ``open_client`` does."""
        self._redis = open_client(url, connection or {}, options or {})
        self._pusher = Pusher(self._redis)
        self._prefix = key_prefix
        self._ours = f"{key_prefix}celeriac:"
        self._board = RedisBoard(self._redis, self._ours)
        self._lists = Lists(key_prefix, priority_steps, separator)
        scripts = _load_scripts()
        self._large = LargeClaims(self._redis, scripts.pop("claim_large"), self._ours)
        #: Mean bytes of the messages claimed last.
        self._size = 0.0
        self._line = Line(self._redis)
        self._claim = Script(self._redis, self._line, scripts.pop("claim"))
        self._scripts = {name: self._redis.register_script(text) for name, text in scripts.items()}
        self._batch_numbers = count(1)
        #: Indexes of the leases that this instance took and has not settled, by owner and batch.
        self._unsettled: dict[tuple[str, str], set[str]] = {}
        self._doubtful: list[str] = []
        self._doorbell: Doorbell | None = None

    @classmethod
    def from_options(cls, url: str, options: Mapping[str, Any]) -> RedisBroker:
        """Return the broker that kombu's URL and ``broker_transport_options`` describe."""
        return cls(
            url,
            key_prefix=options.get("global_keyprefix", ""),
            priority_steps=options.get("priority_steps", (0, 3, 6, 9)),
            separator=options.get("sep", "\x06\x16"),
            connection=connection_options(options),
            options=options,
        )

    # -- Sending

    def send(self, messages: Sequence[Message]) -> None:
        with translated():
            if len(messages) == 1:
                self._pusher.push(self._lists.of_message(messages[0]), (messages[0].payload,))
                return
            for _, group in groupby(messages, _destination):
                together = list(group)
                key, payloads = self._lists.of_message(together[0]), [message.payload for message in together]
                for start in range(0, len(payloads), _SEND_CHUNK):
                    self._pusher.push(key, payloads[start : start + _SEND_CHUNK])

    # -- Leases

    def claim(
        self,
        queues: Sequence[str],
        n: int,
        *,
        owner: str,
        lease_for: float,
        ack: Sequence[Lease] = (),
    ) -> Claimed:
        number = str(next(self._batch_numbers))
        sources = self._lists.of_queues(queues)
        rest = [*self._settlements((lease, "a", "") for lease in ack), len(self._doubtful), *self._doubtful]
        try:
            lost, parts = self._take(owner, lease_for, number, n, rest, [source.key for source in sources])
        except BrokerUnavailable:
            self._doubtful.append(number)
            raise
        self._doubtful.clear()
        self._note_settled(ack)
        leases: list[Lease] = []
        for part, (index, raws) in enumerate(zip(parts[::2], parts[1::2], strict=True)):
            batch = f"{number}_{part}"
            self._unsettled[owner, batch] = {str(index) for index in range(len(raws))}
            leases += _read_batch(owner, batch, sources[index], raws)
        return Claimed(self._up_to_suspect(leases, number), _pick_lost(ack, lost) if lost else ())

    def wait(self, queues: Sequence[str], timeout: float) -> None:
        if not queues:
            time.sleep(timeout)
            return
        if self._doorbell is None or self._doorbell.pid != os.getpid():
            self._doorbell = Doorbell(self._redis, refusal())
        with translated():
            try:
                self._doorbell.wait([source.key for source in self._lists.of_queues(queues)], timeout)
            except BaseException:  # the doorbell holds no message; the next call makes a new one
                self._doorbell.close()
                self._doorbell = None
                raise

    def renew(self, owners: Iterable[str], lease_for: float) -> None:
        if owners := list(owners):
            self._run("renew", lease_for, *owners)

    def ack(self, leases: Sequence[Lease]) -> Sequence[Lease]:
        return self._settle([(lease, "a", "") for lease in leases])

    def release(self, leases: Sequence[Lease]) -> Sequence[Lease]:
        return self._settle([(lease, "r", "") for lease in reversed(leases)])

    def delay(self, leases: Sequence[tuple[Lease, float]]) -> Sequence[Lease]:
        return self._settle([(lease, "d", repr(due)) for lease, due in leases])

    def bury(self, leases: Sequence[tuple[Lease, str]]) -> Sequence[Lease]:
        return self._settle([(lease, "b", reason) for lease, reason in leases])

    # -- Upkeep

    def promote_due(self, now: float | None = None, limit: int = 1000) -> Promoted:
        moved, nearest = self._run("promote", "" if now is None else repr(now), limit)
        return Promoted(moved, None if nearest is None else float(nearest))

    def reap(self, now: float | None = None, *, max_deliveries: int) -> Reaped:
        return self._reaped(self._run("reap", "" if now is None else repr(now), max_deliveries))

    def evict(self, eviction: Eviction, *, max_deliveries: int) -> Reaped:
        known: list[str] = []
        for lease_id in eviction.finished:
            known += (lease_id, "f", "")
        for lease_id in eviction.interrupted:
            known += (lease_id, "i", "")
        for lease_id, reason in eviction.forfeited.items():
            known += (lease_id, "l", reason)
        return self._reaped(self._run("evict", eviction.owner, max_deliveries, *known))

    # -- Looking

    def stats(self, queues: Sequence[str]) -> Mapping[str, QueueStats]:
        sources = self._lists.of_queues(queues)
        totals = {queue: [0, 0, 0, 0] for queue in queues}
        if sources:
            for source, numbers in zip(sources, self._run("stats", *(s.key for s in sources)), strict=True):
                totals[source.queue] = [a + b for a, b in zip(totals[source.queue], numbers, strict=True)]
        return {
            queue: QueueStats(ready=ready, leased=leased, delayed=delayed, dead=dead)
            for queue, (ready, leased, delayed, dead) in totals.items()
        }

    def oldest(self, queues: Sequence[str]) -> Sequence[Message]:
        sources = self._lists.of_queues(queues)
        with translated(), self._redis.pipeline(transaction=False) as pipeline:
            for source in sources:
                pipeline.lindex(source.key, -1)
            raws: list[Any] = pipeline.execute()
        return [
            Message(queue=source.queue, payload=_unmark(raw)[0], priority=source.priority)
            for source, raw in zip(sources, raws, strict=True)
            if raw is not None
        ]

    def memory(self) -> Memory:
        with translated():
            return self._board.memory()

    def post(self, name: str, text: bytes, keep_for: float) -> None:
        with translated():
            self._board.post(name, text, keep_for)

    def posted(self) -> Mapping[str, bytes]:
        with translated():
            return self._board.posted()

    def scheduled(self, queues: Sequence[str], offset: int = 0, limit: int = 100) -> Sequence[Scheduled]:
        found: list[Scheduled] = []
        with translated():
            for source in self._lists.of_queues(queues):
                key = f"{self._ours}delayed:{source.key}"
                for member, due in self._earliest(key, offset + limit):
                    payload = _unmark(member.partition(b"\n")[2])[0]
                    message = Message(queue=source.queue, payload=payload, priority=source.priority)
                    found.append(Scheduled(message, due))
        return sorted(found, key=lambda entry: entry.due)[offset : offset + limit]

    def dead_letters(self, offset: int = 0, limit: int = 100) -> Sequence[DeadLetter]:
        return [self._letter(letter) for letter in self._run("dead_letters", offset, limit)]

    def retry_dead(self, ids: Iterable[str]) -> int:
        return int(self._run("retry_dead", "retry", *ids))

    def drop_dead(self, ids: Iterable[str]) -> int:
        return int(self._run("retry_dead", "drop", *ids))

    def purge(self, queues: Sequence[str]) -> int:
        if not (sources := self._lists.of_queues(queues)):
            return 0
        with translated(), self._redis.pipeline(transaction=True) as pipeline:
            for source in sources:
                pipeline.llen(source.key)
                pipeline.delete(source.key)
            waiting = sum(pipeline.execute()[0::2])
            return int(waiting) + drop_delayed(self._redis, self._prefix, [source.key for source in sources])

    def close(self) -> None:
        if self._doorbell is not None:
            self._doorbell.close()
            self._doorbell = None
        self._pusher.close()
        self._line.close()
        self._redis.close()

    # -- Parts of the above

    def _run(self, script: str, *arguments: Any) -> Any:
        with translated():
            return self._scripts[script](args=[self._ours, *arguments])

    def _take(
        self, owner: str, lease_for: float, number: str, n: int, rest: Sequence[Any], keys: Sequence[str]
    ) -> tuple[Any, list[Any]]:
        """Claim in the way that suits the latest messages; return lost leases, places and messages."""
        if self._size < self.large_from:
            most = most_at_a_time(1)
            with translated():
                arguments = self._ours, min(n, _CLAIM_MAX), most, owner, lease_for, number, *rest, *keys
                lost, parts = self._claim(arguments)
        else:
            n = min(n, most_at_a_time(self._size))
            with translated():
                lost, parts = self._large.claim(owner, lease_for, number, n, rest, keys)
        if parts:
            raws = parts[-1]
            self._size = sum(map(len, raws)) / len(raws)
        return lost, parts

    def _up_to_suspect(self, leases: list[Lease], number: str) -> list[Lease]:
        """Give back what a large claim took behind a message that was delivered before."""
        behind = next((at for at, lease in enumerate(leases, 1) if lease.deliveries > 1), len(leases))
        if behind < len(leases):
            try:
                self.release(leases[behind:])
            except BrokerUnavailable:
                self._doubtful.append(number)  # all of it goes back with the next claim
                return []
        return leases[:behind]

    def _earliest(self, key: str, limit: int) -> list[tuple[bytes, float]]:
        if limit < 1:
            return []
        found: Any = self._redis.zrange(key, 0, limit - 1, withscores=True)
        return [(member, float(due)) for member, due in found]

    def _settle(self, settled: Sequence[tuple[Lease, str, str]]) -> Sequence[Lease]:
        if not settled:
            return ()
        lost = self._run("settle", *self._settlements(settled))
        leases = [lease for lease, _, _ in settled]
        self._note_settled(leases)
        return _pick_lost(leases, lost) if lost else ()

    def _settlements(self, settled: Iterable[tuple[Lease, str, str]]) -> list[Any]:
        """The arguments of the script's ``settle``: whole batches that are acked need no details."""
        batches: defaultdict[tuple[str, str], dict[str, tuple[str, str]]] = defaultdict(dict)
        for lease, operation, argument in settled:
            batches[_batch_of(lease)].setdefault(_index_of(lease), (operation, argument))
        arguments: list[Any] = [len(batches)]
        for (owner, batch), operations in batches.items():
            unsettled = self._unsettled.get((owner, batch))
            if operations.keys() == unsettled and all(verb == "a" for verb, _ in operations.values()):
                arguments += (owner, batch, "*", 0)
                continue
            completion = "?" if unsettled is None else "*" if unsettled <= operations.keys() else "-"
            arguments += (owner, batch, completion, len(operations))
            for index, (operation, argument) in operations.items():
                arguments += (index, operation, argument)
        return arguments

    def _note_settled(self, leases: Sequence[Lease]) -> None:
        for lease in leases:
            key = _batch_of(lease)
            if (unsettled := self._unsettled.get(key)) is not None:
                unsettled.discard(_index_of(lease))
                if not unsettled:
                    del self._unsettled[key]

    def _reaped(self, answer: list[Any]) -> Reaped:
        return Reaped(answer[0], [self._letter(letter) for letter in answer[1:]])

    def _letter(self, fields: Sequence[Any]) -> DeadLetter:
        letter_id, key, payload, reason, died_at, deliveries = fields
        source = self._lists.named(key.decode())
        return DeadLetter(
            id=letter_id.decode(),
            message=Message(queue=source.queue, payload=payload, priority=source.priority),
            reason=reason.decode("utf-8", "replace"),
            died_at=float(died_at),
            deliveries=deliveries,
        )


def drop_delayed(client: Any, prefix: str, sources: Sequence[str]) -> int:
    """Drop what is delayed for these lists; return how many messages. Raises redis-py's errors."""
    with client.pipeline(transaction=True) as pipeline:
        for source in sources:
            key = f"{prefix}celeriac:delayed:{source}"
            pipeline.zcard(key)
            pipeline.delete(key)
        return int(sum(pipeline.execute()[0::2]))


def _read_batch(owner: str, batch: str, source: Source, raws: Sequence[bytes]) -> Iterator[Lease]:
    for index, raw in enumerate(raws):
        payload, deliveries = (raw, 1) if not raw.startswith(MARK) else _unmark(raw)
        message = Message(queue=source.queue, payload=payload, priority=source.priority)
        yield Lease(f"{batch}.{index}", owner, message, deliveries)


def _batch_of(lease: Lease) -> tuple[str, str]:
    return lease.owner, lease.id.rpartition(".")[0]


def _index_of(lease: Lease) -> str:
    return lease.id.rpartition(".")[2]


def _unmark(raw: bytes) -> tuple[bytes, int]:
    """The original bytes of a raw message, and the number of its next delivery."""
    if not raw.startswith(MARK):
        return raw, 1
    deliveries, _, rest = raw[len(MARK) :].partition(b",")
    return b"{" + rest, int(deliveries)


def _pick_lost(leases: Sequence[Lease], lost: Sequence[bytes]) -> list[Lease]:
    names = {name.decode() for name in lost}
    return [
        lease
        for lease in leases
        if f"{lease.owner} {lease.id}" in names or f"{lease.owner} {lease.id.rpartition('.')[0]}" in names
    ]


def _load_scripts() -> dict[str, str]:
    text = Path(__file__).with_name("redis.lua").read_text()
    _, *sections = re.split(r"^-- name: (\w+)\n", text, flags=re.MULTILINE)
    scripts = dict(zip(sections[::2], sections[1::2], strict=True))
    prelude = scripts.pop("prelude")
    return {name: prelude + body for name, body in scripts.items()}
