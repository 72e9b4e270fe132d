"""Nothing keeps the parts of a group or chord that nobody asks for; whoever holds the group hears of them."""

from __future__ import annotations

import gc
import pickle
import weakref

import pytest
from celery import chord, group, result

from celeriac import Celery

app = Celery("groups", broker="memory://", backend="redis://127.0.0.1:1/0")
app.conf.broker_transport = "memory"


@app.task
def add(x: int, y: int) -> int:
    return x + y


@pytest.mark.parametrize(
    "calls", [group([add.s(1, 2), add.s(3, 4)]), chord([add.s(1, 2), add.s(3, 4)], add.s(5))]
)
def test_parts_end_with_the_group(calls: group | chord) -> None:
    found = calls.freeze()
    parts = found.results if isinstance(calls, group) else found.parent.results
    watched = [weakref.ref(part) for part in parts]
    assert len(watched) == 2
    del found, parts
    gc.collect()
    assert [part() for part in watched] == [None, None]


def test_a_group_is_ready_when_all_its_parts_are() -> None:
    found = group([add.s(1, 2), add.s(3, 4)]).freeze()
    heard = []
    found.then(heard.append)
    for part in found.results:
        assert heard == []
        part._maybe_set_cache({"task_id": part.id, "status": "SUCCESS", "result": 3, "children": []})
    assert [one.id for one in heard] == [found.id]


def test_it_is_celerys_for_all_others() -> None:
    found = group([add.s(1, 2)]).freeze()
    assert isinstance(found, result.GroupResult)
    assert pickle.loads(pickle.dumps(found)) == found
