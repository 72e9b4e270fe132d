"""The scaler tells KEDA, Prometheus and people how many pods there should be, on real servers and workers."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from xml.etree import ElementTree

import grpc
import pytest
from celery import group

from celeriac.deploy.scaling.rivals.hpa import Behaviour, Hpa, Rule
from tests.prometheus import prometheus
from tests.scaler import APP, CELERIAC, Keda, Scaler, scaler
from tests.servers import RedisServer, free_port, redis_server, wait_until
from tests.stage import Stage
from tests.workers import worker

pytestmark = pytest.mark.timeout(120)


def send(stage: Stage, task: str, *arguments: object, times: int = 1, **options: object) -> None:
    for _ in range(times):
        stage.app.send_task(f"{APP}.{task}", args=arguments, **options)


#: Pods of one slot that have done a minute of work within half of the 30 seconds that a task may wait.
ENOUGH = 4


def test_the_same_number_is_told_to_keda_to_prometheus_and_as_json(redis_stage: Stage) -> None:
    send(redis_stage, "nap", 1, queue="naps", times=60)
    with scaler(redis_stage) as running:
        desired = running.desired("naps")
        assert ENOUGH <= desired <= 30
        assert running.value("celery_desired_workers", pool="naps") == desired
        keda = Keda(running.grpc_port, "naps")
        for _ in range(10):  # KEDA asks both at every fetch
            assert keda.desired() == (desired, float(desired))
            assert keda.is_active()
        answer = running.answer("naps")
        assert (answer["queued"], answer["basis"]) == (60, "forecast")
        assert answer["reason"] == "work to be done in time"
        assert running.value("celeriac_scale_tasks", pool="naps", state="queued") == 60
        assert running.desired("worker") == 1  # its least
        running.end()


def test_an_idle_pool_is_told_as_zero_and_a_first_message_is_pushed_within_a_second(
    redis_stage: Stage,
) -> None:
    with scaler(redis_stage) as running:
        keda = Keda(running.grpc_port, "naps")
        assert keda.desired() == (0, 0.0)
        assert not keda.is_active()
        assert running.value("celery_desired_workers", pool="naps") == 0
        stream = iter(keda.call("StreamIsActive", timeout=60))
        assert next(stream).result is False
        pushed = threading.Event()
        at: list[float] = []

        def follow() -> None:
            for message in stream:
                if message.result:
                    at.append(time.monotonic())
                    pushed.set()
                    return

        threading.Thread(target=follow, daemon=True).start()
        sent = time.monotonic()
        send(redis_stage, "nap", queue="naps")
        assert pushed.wait(20)
        assert at[0] - sent < 1.0
        assert keda.desired() == (1, 1.0)
        assert running.answer("naps")["reason"] == "a first message waits"


def test_keda_comes_back_to_a_scaler_that_was_started_again(redis_stage: Stage) -> None:
    port = free_port()
    with scaler(redis_stage, grpc_port=port) as running:
        keda = Keda(port, "naps")
        specs = iter(keda.call("StreamMetricSpec", timeout=60))
        assert next(specs).metricSpecs[0].targetSize == 1
        assert keda.desired() == (0, 0.0)
        running.end()
        assert list(specs) == []  # it has ended
        with pytest.raises(grpc.RpcError):
            keda.is_active()
    send(redis_stage, "nap", queue="naps")
    with scaler(redis_stage, grpc_port=port):
        found: list[bool] = []

        def answers() -> bool:
            try:
                found.append(keda.is_active())
            except grpc.RpcError:  # the channel waits a little between two attempts
                return False
            return True

        wait_until(answers, what="KEDA's channel to connect again")
        assert found == [True]


def test_a_pool_that_is_not_there_is_refused_with_those_that_are(redis_stage: Stage) -> None:
    with scaler(redis_stage) as running:
        with pytest.raises(grpc.RpcError) as refused:
            Keda(running.grpc_port, "napps").is_active()
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "set the trigger's metadata pool to worker or naps" in refused.value.details()
        assert running.get("/desired/napps")[0] == 404


def test_a_pool_is_awake_before_beat_sends_to_it(redis_stage: Stage) -> None:
    # Due in two minutes or a little less: in good time with a pod that takes 10 s, and a tick.
    due = datetime.now(UTC) + timedelta(minutes=2)
    soon = datetime.now(UTC) + timedelta(seconds=20)
    at = {"hour": due.hour, "minute": due.minute}
    with scaler(redis_stage, CRON=json.dumps(at)) as running:
        if due.replace(second=0, microsecond=0) - datetime.now(UTC) > timedelta(seconds=40):
            assert running.desired("naps") == 0
    # Whatever the second of the minute is: one of these two minutes begins within the next 25 s or is past.
    minutes = ",".join(str((soon + timedelta(minutes=more)).minute) for more in (0, 1))
    with scaler(redis_stage, CRON=json.dumps({"minute": minutes})) as running:
        keda = Keda(running.grpc_port, "naps")
        stream = keda.call("StreamIsActive", timeout=100)
        assert any(message.result for message in stream)
        answer = running.answer("naps")
        assert (answer["desired"], answer["basis"], answer["queued"]) == (1, "woken", 0)
        assert answer["reason"] == "beat is about to send siesta"
        assert datetime.now(UTC) < _next_minute(running)


def _next_minute(running: Scaler) -> datetime:
    """When the entry is due: at the next full minute after it was told."""
    told = datetime.fromtimestamp(running.answer("naps")["at"], UTC)
    return told.replace(second=0, microsecond=0) + timedelta(minutes=1)


def test_an_autoscaler_that_reads_prometheus_reaches_the_number(redis_stage: Stage, tmp_path: Path) -> None:
    send(redis_stage, "nap", 1, queue="naps", times=60)
    with scaler(redis_stage) as running, prometheus(tmp_path, [running.port]) as server:
        query = 'max(celery_desired_workers{pool="naps"}) by (pool)'
        wait_until(lambda: server.query(query), what="a scrape")
        desired = running.desired("naps")
        wait_until(lambda: set(server.query(query).values()) == {running.desired("naps")}, what="the number")
        # As in the rendered autoscaler: AverageValue 1, no tolerance, up by 100 % or 10 pods in 15 s.
        rules = (Rule("Percent", 100, 15.0), Rule("Pods", 10, 15.0))
        hpa = Hpa(Behaviour(tolerance=0.0, up=rules), min_pods=1, max_pods=30)
        pods = 1
        for sync in range(4):
            [number] = server.query(query).values()
            pods = hpa.step(sync * 15.0, pods, number, 1.0)
        assert pods == running.desired("naps") >= desired >= ENOUGH


def test_run_times_are_learnt_from_real_workers_and_kept_for_a_later_life(
    redis_stage: Stage, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    environment = redis_stage.environment()
    with worker(APP, "-Q", "naps", "-c", "1", environment=environment, log=tmp_path / "worker.log"):
        with scaler(redis_stage, "--state", str(state)) as running:
            wait_until(lambda: running.answer("naps")["ready"] == 1, what="the worker to be seen")
            send(redis_stage, "nap", 0.5, queue="naps", times=8)
            wait_until(lambda: running.answer("naps")["decision"]["median"] > 0.1, what="load to be expected")
            before = running.answer("naps")
            assert before["arrivals"] == 8
            running.end()
            assert "what was learnt ends with this process" not in running.text
        with scaler(redis_stage, "--state", str(state)) as running:
            assert running.answer("naps")["decision"]["median"] > before["decision"]["median"] / 2
            assert "what was learnt before is known" in running.text


def test_nothing_changes_while_the_broker_is_away(tmp_path: Path) -> None:
    with redis_server() as server:
        stage = Stage(tmp_path, server)
        send(stage, "nap", 1, queue="naps", times=60)
        with scaler(stage) as running:
            desired = running.desired("naps")
            server.stop()
            wait_until(lambda: running.answer("naps")["basis"] == "holding", what="holding")
            assert running.desired("naps") == desired
            assert Keda(running.grpc_port, "naps").desired() == (desired, float(desired))
            assert running.value("celeriac_broker_up") == 0
            assert running.value("celeriac_scale_basis", pool="naps", basis="holding") == 1
            assert "The broker does not answer, so nothing changes" in running.text
            server.start()
            wait_until(lambda: running.answer("naps")["basis"] == "forecast", what="deciding again")


def test_without_any_answer_of_the_broker_autoscalers_are_told_that_nothing_is_known(tmp_path: Path) -> None:
    server = RedisServer(tmp_path)
    stage = Stage(tmp_path, server)
    with scaler(stage, ready=False) as running:
        status, body = running.get("/desired/naps")
        assert (status, json.loads(body)["error"]) == (
            503,
            "nothing is known yet: the broker has not answered",
        )
        with pytest.raises(grpc.RpcError) as refused:  # KEDA then does as its fallback says
            Keda(running.grpc_port, "naps").desired()
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        assert running.value("celery_desired_workers", pool="naps") is None


def test_preview_tells_what_there_is_and_shows_what_would_be(redis_stage: Stage) -> None:
    send(redis_stage, "nap", 1, queue="naps", times=60)
    with scaler(redis_stage, "--preview") as running:
        answer = running.answer("naps")
        assert answer["advised"] >= ENOUGH
        assert (answer["desired"], answer["active"], answer["preview"]) == (0, False, True)
        assert Keda(running.grpc_port, "naps").desired() == (0, 0.0)
        assert running.value("celery_desired_workers", pool="naps") == 0
        assert running.value("celeriac_scale_preview_workers", pool="naps") == answer["advised"]
        assert "Pool naps would ask for" in running.text


def test_a_running_scaler_explains_itself_as_text_and_as_a_picture(redis_stage: Stage) -> None:
    send(redis_stage, "nap", 1, queue="naps", times=60)
    drawn, painted = (redis_stage.folder / f"naps.{kind}" for kind in ("svg", "png"))
    with scaler(redis_stage) as running:
        url = f"http://127.0.0.1:{running.port}"
        command = [CELERIAC, "scale", "explain", "--url", url, "--pool", "naps"]
        told = subprocess.run([*command, "--json"], capture_output=True, check=True, timeout=60)
        [change, *_] = json.loads(told.stdout)
        assert (change["pods_before"], change["reason"]) == (0, "work to be done in time")
        for picture in (drawn, painted):
            asked = [*command, "--picture", str(picture)]
            told = subprocess.run(asked, capture_output=True, check=True, timeout=60)
            assert b"Pool naps: why pods came and went" in told.stdout
        assert ElementTree.fromstring(drawn.read_text()).tag.endswith("svg")
        assert painted.read_bytes().startswith(b"\x89PNG")
        other = [*command, "--picture", str(redis_stage.folder / "naps.bmp")]
        refused = subprocess.run(other, capture_output=True, check=False, timeout=60)
        assert (refused.returncode, b"end it in .png or .svg" in refused.stderr) == (2, True)
        wrong = subprocess.run([*command[:-1], "napps"], capture_output=True, check=False, timeout=60)
        assert (wrong.returncode, b"there is no pool 'napps'" in wrong.stderr) == (2, True)


def test_what_is_delayed_is_met_with_pods_before_it_is_due(redis_stage: Stage, tmp_path: Path) -> None:
    environment = redis_stage.environment()
    with worker(APP, "-Q", "naps", "-c", "1", environment=environment, log=tmp_path / "worker.log"):
        broker = redis_stage.broker()
        send(redis_stage, "nap", 1, queue="naps", times=200, countdown=60)
        wait_until(lambda: broker.stats(["naps"])["naps"].delayed == 200, what="all to be held back")
        with scaler(redis_stage) as running:
            wait_until(lambda: running.answer("naps")["desired"] > 3, what="pods for what is due")
            answer = running.answer("naps")
            assert (answer["delayed"], answer["queued"], answer["running"]) == (200, 0, 0)
            assert answer["basis"] == "forecast"


def test_what_a_running_task_will_send_is_met_with_pods_before_it_is_sent(
    redis_stage: Stage, tmp_path: Path
) -> None:
    environment = redis_stage.environment()
    with worker(APP, "-Q", "celery", "-c", "1", environment=environment, log=tmp_path / "worker.log"):
        broker = redis_stage.broker()
        parts = group(redis_stage.app.signature(f"{APP}.nap", args=(1,), queue="naps") for _ in range(200))
        first = redis_stage.app.signature(f"{APP}.nap", args=(100,), queue="celery", immutable=True)
        (first | parts).apply_async()
        with scaler(redis_stage) as running:
            wait_until(lambda: running.answer("naps")["desired"] > 3, what="pods for what will be sent")
            answer = running.answer("naps")
            assert (answer["queued"], answer["running"], answer["basis"]) == (0, 0, "forecast")
            assert broker.stats(["naps"])["naps"].ready == 0


def test_where_no_worker_tells_of_itself_only_what_waits_and_runs_counts(
    redis_stage: Stage, tmp_path: Path
) -> None:
    environment = {**redis_stage.environment(), "SILENT": "1"}
    with worker(APP, "-Q", "naps", "-c", "1", environment=environment, log=tmp_path / "worker.log"):
        broker = redis_stage.broker()
        send(redis_stage, "nap", 600, queue="naps", times=7)
        wait_until(lambda: broker.stats(["naps"])["naps"].leased >= 1, what="one to run")
        with scaler(redis_stage) as running:
            answer = running.answer("naps")
            assert (answer["desired"], answer["basis"]) == (7, "reactive")
            assert "no worker tells how long tasks run" in answer["reason"]
            assert running.value("celeriac_scale_basis", pool="naps", basis="reactive") == 1
