"""An instrument on another computer of a cluster: what stands still or ends there is found from here."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys

import pytest

pytestmark = pytest.mark.ray

# Two nodes on loopback: the pump can only be on the second one.
SCRIPT = """
import json, os, sys, time
import psutil
from ray.cluster_utils import Cluster
from closedloop.controller.actors.executor import RayExecutor
from closedloop.controller.errors import SourceError
from closedloop.controller.records import Trial
from closedloop.controller.source import Binding
from closedloop.instruments.instrument import Instrument

class Pump(Instrument):
    def measure(self, setting):
        time.sleep(setting["takes"])
        return {"flow": 1.0}

def say(**words):
    print(json.dumps(words), flush=True)

def trial(number, takes):
    return Trial(number=number, source="pump", setting={"takes": takes})

cluster = Cluster()
head, bench = cluster.add_node(num_cpus=1), cluster.add_node(num_cpus=1, resources={"bench": 1})
pump = Binding(name="pump", cls=Pump, resources={"bench": 1}, responses=("flow",))
try:
    RayExecutor({"pump": Binding(name="pump", cls=Pump, resources={"lamp": 1})}, address=cluster.address)
except SourceError as error:
    say(refused=str(error))
executor = RayExecutor({"pump": pump}, address=cluster.address)
place = executor._slots["pump"][0].place
raylet = psutil.Process(place.pid).parent()
executor.submit(trial(1, 0.0))
say(kind=executor.wait().kind, is_far=place.node != executor._watch._here)
executor.submit(trial(2, 120.0))
time.sleep(4)  # the watcher there has spoken
family = [raylet, *raylet.children(recursive=True)]
{deed}
began = time.monotonic()
try:
    answer = executor.wait()
    say(cause=answer.cause, in_doubt=answer.is_in_doubt, text=answer.message, after_s=time.monotonic() - began)
except SourceError as error:
    say(error=str(error), after_s=time.monotonic() - began)
for process in family:
    if process.is_running():
        process.resume()
{after}
executor.close()
cluster.shutdown()
"""
NEXT = "executor.submit(trial(3, 0.0)); say(kind=executor.wait().kind)"


def play(folder, deed, after=""):
    token = folder / "token"
    token.touch(mode=0o600)
    token.write_text(secrets.token_hex(32))
    ray = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token), "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
    kept = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    place = {"RAY_USAGE_STATS_ENABLED": "0"}
    script = SCRIPT.replace("{deed}", deed).replace("{after}", after)
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env={**kept, **place, **ray}, timeout=150)
    said = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    refused, first, *rest = said
    assert "asks for lamp=1, and no computer of this Ray has more than 0" in refused["refused"]
    assert first == {"kind": "observed", "is_far": True}
    return rest


def test_an_actor_that_stands_still_on_another_node_is_ended_and_replaced(tmp_path):
    answer, after = play(tmp_path, "psutil.Process(place.pid).suspend()", NEXT)
    assert (answer["cause"], answer["in_doubt"], after["kind"]) == ("unknown", True, "observed")
    assert answer["after_s"] < 5.0


def test_fault_50_a_node_that_stands_still_as_a_whole_is_lost_long_before_ray_says_so(tmp_path):
    (answer,) = play(tmp_path, "[p.suspend() for p in family]")
    assert (answer["cause"], answer["in_doubt"]) == ("unknown", True)
    assert "does not answer" in answer["text"]
    assert answer["after_s"] < 10.0  # Ray needs 66 s


def test_a_node_whose_raylet_is_killed_answers_in_bounded_time(tmp_path):
    (answer,) = play(tmp_path, "raylet.kill()")
    assert (answer["cause"], answer["in_doubt"]) == ("unknown", True)
    assert answer["after_s"] < 30.0


def test_a_clusters_head_that_is_gone_is_said_before_ray_ends_the_process(tmp_path):
    (answer,) = play(tmp_path, "head.all_processes['gcs_server'][0].process.kill()")
    assert "its head does not answer" in answer["error"]
    assert answer["after_s"] < 30.0  # Ray ends the whole process after 60 s


OPEN = """
import os, sys
import ray
os.environ["RAY_AUTH_MODE"] = "disabled"
context = ray.init(num_cpus=1, include_dashboard=False, object_store_memory=80_000_000, _temp_dir=sys.argv[1])
print(context.address_info["gcs_address"], flush=True)
sys.stdin.read()
"""
JOIN = """
import sys
from closedloop.controller.errors import SourceError
from closedloop.controller.actors.session import RaySession
try:
    RaySession(sys.argv[1]).stop()
    print("joined")
except SourceError as error:
    print(error)
"""


def test_fault_45_a_cluster_that_asks_for_no_token_is_joined_only_by_who_says_so(tmp_path_factory):
    folder = tmp_path_factory.mktemp("r")
    kept = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    kept |= {"RAY_USAGE_STATS_ENABLED": "0"}
    loopback = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_AUTH_MODE": "disabled"}
    head = subprocess.Popen(
        [sys.executable, "-c", OPEN, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**kept, **loopback},
    )
    try:
        address = next(line for line in head.stdout if line.startswith("127.")).strip()
        command = [sys.executable, "-c", JOIN, address]
        options = {"stdout": subprocess.PIPE, "text": True, "timeout": 60}
        assert "asks for no token" in subprocess.run(command, env=kept, **options).stdout
        forced = subprocess.run(command, env={**kept, "RAY_AUTH_MODE": "disabled"}, **options)
        assert forced.stdout.strip() == "joined"
    finally:
        head.communicate(timeout=30)
