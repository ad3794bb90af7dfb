"""The wheel, installed into an empty environment, runs the reactor campaign from any folder; on Ray, by the command."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def build(folder: Path) -> Path:
    copy = folder / "source"  # building leaves files in the tree
    shutil.copytree(
        ROOT, copy, ignore=shutil.ignore_patterns(".*", "tests", "docs", "out", "*.db*", "*.egg-info", "build")
    )
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(folder)]
    subprocess.run([*command, str(copy)], check=True, cwd=folder)
    (wheel,) = folder.glob("*.whl")
    return wheel


def test_the_wheel_holds_the_package_and_nothing_else(tmp_path: Path) -> None:
    names = zipfile.ZipFile(build(tmp_path)).namelist()
    tops = {n.split("/")[0] for n in names}
    assert {t for t in tops if not t.endswith(".dist-info")} == {"closedloop"}
    source = {
        str(p.relative_to(ROOT))
        for f in ("controller", "simulators", "instruments", "campaigns")
        for p in (ROOT / f).rglob("*.py")
    }
    assert {f"closedloop/{p}" for p in source} <= set(names)
    assert {"closedloop/py.typed", "closedloop/campaigns/reactor.yaml"} <= set(names)
    assert not [n for n in names if "test_" in n]


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(900)
def test_an_empty_environment_runs_the_reactor(tmp_path: Path) -> None:
    wheel = build(tmp_path)
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "env")], check=True)
    pip = [str(tmp_path / "env/bin/python"), "-m", "pip", "install", "--quiet", "-c", str(ROOT / "constraints.txt")]
    subprocess.run([*pip, "torch"], check=True)
    subprocess.run([*pip, str(wheel)], check=True)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    tool = str(tmp_path / "env/bin/closedloop")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    done = subprocess.run([tool, "run", "reactor"], cwd=elsewhere, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "budget spent" in done.stdout
    for words in (["verify"], ["replay"], ["report", "--output", "r.html"]):
        subprocess.run([tool, *words], cwd=elsewhere, env=environment, check=True, stdout=subprocess.DEVNULL)
    assert (elsewhere / "r.html").stat().st_size > 100_000
