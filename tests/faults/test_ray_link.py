"""Fault 50: the link to the instrument's computer is cut in the middle of an action, and comes back.

Two network namespaces stand for two computers; only root may make them.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = [pytest.mark.ray, pytest.mark.slow]

HERE, FAR = "10.99.0.1", "10.99.0.2"
CONTROLLER = """
import json, subprocess, sys, time
from closedloop.controller.actors.executor import RayExecutor
from closedloop.controller.guard.fence import device_key
from closedloop.controller.guard.gates import Gates
from closedloop.controller.records import Trial
from closedloop.controller.source import Binding, NotStarted, Unknown
from closedloop.instruments.instrument import Instrument

LOG, LINK, HEAD = sys.argv[1:]

class Furnace(Instrument):
    deadman_s = 3.0
    def note(self, what):
        with open(LOG, "a") as file:
            file.write(f"{time.time()} {what}\\n")
    def measure(self, setting):
        self.note(f"begin {setting['x']:g}")
        time.sleep(setting["takes"])
        self.note(f"end {setting['x']:g}")
        return {"y": 1.0}
    def make_safe(self):
        self.note("safe")
    def recover(self, trial):
        return Unknown("it was cut off")

def say(**words):
    print(json.dumps(words), flush=True)

def answer():
    while (said := executor.wait()).kind not in ("observed", "failed", "settled"):
        pass
    return said

furnace = Binding(name="furnace", cls=Furnace, resources={"bench": 1}, responses=("y",))
executor = RayExecutor({"furnace": furnace}, address=HEAD, gates=Gates("bake", "ledger", {"furnace": 1}))
executor.submit(Trial(number=1, source="furnace", setting={"x": 1.0, "takes": 0.0}))
say(first=answer().kind)
executor.submit(Trial(number=2, source="furnace", setting={"x": 2.0, "takes": 60.0}))
time.sleep(4)
subprocess.run([*LINK.split(), "down"], check=True)
began = time.monotonic()
cut = answer()
say(cause=cut.cause, in_doubt=cut.is_in_doubt, text=cut.message, after_s=time.monotonic() - began)
time.sleep(10)
subprocess.run([*LINK.split(), "up"], check=True)
executor.recover(Trial(number=2, source="furnace", setting={"x": 2.0, "takes": 60.0}))
until = time.monotonic() + 60
while (said := executor.wait()).kind != "settled" and time.monotonic() < until:
    pass
say(settled=said.outcome)
executor.submit(Trial(number=3, source="furnace", setting={"x": 3.0, "takes": 0.0}))
third = answer()
say(third=third.kind, text=getattr(third, "message", ""))
executor.close()
"""


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


@pytest.fixture
def computers():
    """Two namespaces with a link between them; the commands that run something in either."""
    names = [f"loop{os.getpid()}{which}" for which in "ab"]
    links = [f"v{os.getpid()}{which}" for which in "ab"]
    if shutil.which("ip") is None:
        pytest.skip("there is no 'ip': install iproute2")
    try:
        for name in names:
            ip("netns", "add", name)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no network namespace can be made here: {error.stderr.decode().strip()}")
    try:
        ip("link", "add", links[0], "netns", names[0], "type", "veth", "peer", "name", links[1], "netns", names[1])
        for name, link, address in zip(names, links, (HERE, FAR), strict=True):
            ip("-n", name, "addr", "add", f"{address}/24", "dev", link)
            ip("-n", name, "link", "set", link, "up")
            ip("-n", name, "link", "set", "lo", "up")
        yield [["ip", "netns", "exec", name] for name in names], f"ip -n {names[1]} link set {links[1]}"
    finally:
        for name in names:
            pids = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True).stdout.split()
            for pid in pids:
                subprocess.run(["kill", "-9", pid], capture_output=True)
        time.sleep(1)
        for name in names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True)


def test_fault_50_a_link_that_is_cut_in_mid_action_leaves_doubt_a_safe_device_and_one_driver(computers, tmp_path):
    (here, far), link = computers
    token = tmp_path / "token"
    token.touch(mode=0o600)
    token.write_text(secrets.token_hex(32))
    # Ray's folder holds sockets, whose paths may not be long
    folder = Path("/tmp") / f"loop{os.getpid()}"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")} | {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_USAGE_STATS_ENABLED": "0",
        "CLOSEDLOOP_RUNTIME_DIR": str(tmp_path / "runtime"),
    }
    ray = str(Path(sys.executable).with_name("ray"))
    common = ["--num-cpus=1", "--object-store-memory=80000000", "--disable-usage-stats"]
    head = [ray, "start", "--head", f"--node-ip-address={HERE}", "--port=6399", f"--temp-dir={folder}", *common]
    worker = [ray, "start", f"--address={HERE}:6399", f"--node-ip-address={FAR}", '--resources={"bench": 1}', *common]
    log = tmp_path / "log"
    try:
        for command in ([*here, *head, "--include-dashboard=false"], [*far, *worker]):
            subprocess.run(command, env=environment, check=True, capture_output=True, timeout=90)
        done = subprocess.run(
            [*here, sys.executable, "-c", CONTROLLER, str(log), link, f"{HERE}:6399"],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
            timeout=240,
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    first, cut, settled, third = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert first == {"first": "observed"}
    assert (cut["cause"], cut["in_doubt"]) == ("unknown", True) and cut["after_s"] < 15.0
    assert settled == {"settled": "unknown"} and third["third"] == "observed", third
    did = [line.split(maxsplit=1) for line in log.read_text().splitlines()]
    words = [what for _, what in did]
    assert words.count("begin 2") == 1 and "end 2" not in words, words
    assert words.index("begin 2") < words.index("safe") < words.index("begin 3"), words
    at = {what: float(when) for when, what in reversed(did)}  # the first of each
    assert at["safe"] - at["begin 2"] < 4.0 + 3.0 + 5.0, "its own guard makes it safe, though nobody can be asked"
