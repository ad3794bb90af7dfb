"""Faults 41 to 44: what scientists write is taken as they mean it, or refused with file, line and remedy; before any start."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from closedloop.controller.campaign import Campaign
from closedloop.controller.campaign_file import parse, read_campaign
from closedloop.controller.errors import CampaignError
from closedloop.controller.plain_yaml import MAX_BYTES, MAX_ENTRIES
from closedloop.controller.source import find_source

TEXT = """\
name: oven
seed: 3
parameters:
  x: {low: 1, high: 5, unit: degC}
  mode: {choices: [a, b]}
responses: [y]
sources:
  oven:
    instrument: manual
    cost: {money: 1, time: 60}
    settings: {gain: 1.5}
    timeout: 60
guard:
  limits: {x: [0, 6]}
goal: {maximize: y}
budget: {money: 5, time: 2 hours}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def read(text: str) -> Campaign:
    Path("c.yaml").write_text(text)
    return read_campaign(Path("c.yaml"))


def changed(old: str, new: str) -> Campaign:
    assert old in TEXT
    return read(TEXT.replace(old, new, 1))


def refused(text: str, *words: str) -> str:
    with pytest.raises(CampaignError) as error:
        read(text)
    for word in words:
        assert word in str(error.value)
    return str(error.value)


def test_the_file_itself_is_good():
    assert read(TEXT).guard.limits == {"x": (0.0, 6.0)}


@pytest.mark.parametrize(
    ("written", "meant"),
    [("1e-3", 1e-3), ("010", 10.0), (".5", 0.5), ("1_000", 1000.0), ("1E1", 10.0), ("+3", 3.0), ("1.", 1.0)],
)
def test_fault_41_a_number_is_the_number_that_is_meant(written, meant):
    text = TEXT.replace("low: 1, high: 5", f"low: {written}, high: 2000").replace("[0, 6]", "[0, 2000]")
    assert read(text).parameters["x"].low == meant


@pytest.mark.parametrize("written", ["no", "yes", "on", "off", "y", "n", "12:30:00", "1:30", "0x", "1e", "=1+1", "NaN"])
def test_fault_41_words_stay_words(written):
    assert changed("[a, b]", f"[a, {written}]").parameters["mode"].choices == ("a", written)
    assert changed("gain: 1.5", f"gain: {written}").sources["oven"].settings == {"gain": written}


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("low: 1", "low: no", "c.yaml:4: parameters.x.low: 'no' is not a number"),
        ("low: 1", "low: 12:30:00", "c.yaml:4: parameters.x.low: '12:30:00' is not a number"),
        ("low: 1", "low: '1e-3'", "c.yaml:4: parameters.x.low: '1e-3' is not a number"),
        ("low: 1", "low: NaN", "c.yaml:4: parameters.x.low: 'NaN' is not a number"),
        (
            "gain: 1.5",
            "since: 2026-11-24",
            "c.yaml:11: sources.oven.settings.since: 2026-11-24 is read as a date; quote",
        ),
        ("gain: 1.5", "gain: .nan", "c.yaml:11: sources.oven.settings.gain: .nan is not a finite number; write one"),
        ("gain: 1.5", "gain: -.inf", "c.yaml:11: sources.oven.settings.gain: -.inf is not a finite number"),
        ("gain: 1.5", "gain: 1e999", "c.yaml:11: sources.oven.settings.gain: 1e999 is not a finite number"),
        (
            "time: 2 hours",
            "time: 12:30:00",
            "c.yaml:16: '12:30:00' is not a duration; write seconds, '5 min' or '2 hours'",
        ),
        ("timeout: 60", "timeout: 5 moons", "c.yaml:12: sources.oven: '5 moons' is not a duration"),
        ("seed: 3", "seed: 1.5", "c.yaml:2: seed = '1.5': is not a whole number; write one"),
        ("seed: 3", "seed: no", "c.yaml:2: seed = 'no': is not a whole number"),
        ("gain: 1.5", "table: {1: a}", "c.yaml:11: sources.oven.settings.table: the key 1 must be text; quote it"),
        ("gain: 1.5", "table: {true: a}", "c.yaml:11: sources.oven.settings.table: the key true must be text"),
        ("gain: 1.5", "table: {[a]: b}", "the key a sequence must be text"),
    ],
)
def test_fault_41_what_is_not_meant_is_refused_with_its_line(old, new, says):
    refused(TEXT.replace(old, new, 1), says)


def test_fault_41_what_is_read_can_be_written_and_read_again_exactly():
    settings = "{a: 1_000, b: 010, c: no, d: [.5, {e: ~}], f: true, g: 12:30:00}"
    campaign = changed("{gain: 1.5}", settings)
    again = Campaign.trusted(json.loads(json.dumps(campaign.to_dict())))
    assert again.sources["oven"].settings == campaign.sources["oven"].settings
    assert campaign.sources["oven"].settings["d"] == [0.5, {"e": None}]


UNKNOWN = [  # (what is written, its line, the guess)
    ("seed: 3", "sede: 3", 2, "sede: unknown key; did you mean 'seed'?"),
    ("low: 1", "lwo: 1", 4, "parameters.x.lwo: unknown key; did you mean 'low'?"),
    ("    timeout:", "    time_out:", 12, "sources.oven.time_out: unknown key; did you mean 'timeout'?"),
    ("limits:", "limit:", 14, "guard.limit: unknown key; did you mean 'limits'?"),
    ("maximize", "maximise", 15, "goal.maximise: unknown key; did you mean 'maximize'?"),
    (
        "timeout: 60",
        "guard: {max_stp: {x: 1}}",
        12,
        "sources.oven.guard.max_stp: unknown key; did you mean 'max_step'?",
    ),
    (
        "timeout: 60",
        "approval: {allways: true}",
        12,
        "sources.oven.approval.allways: unknown key; did you mean 'always'?",
    ),
    (
        "timeout: 60",
        "on_failure: {retrys: 1}",
        12,
        "sources.oven.on_failure.retrys: unknown key; did you mean 'retries'?",
    ),
    (
        "timeout: 60",
        "needs_makesafe: no",
        12,
        "sources.oven.needs_makesafe: unknown key; did you mean 'needs_make_safe'?",
    ),
    (
        "limits: {x: [0, 6]}",
        "interlocks: [{trip: 'p > 1', evry_s: 1}]",
        14,
        "guard.interlocks.0.evry_s: unknown key; did you mean 'every_s'?",
    ),
    ("seed: 3", "weather: fine", 2, "weather: unknown key; known keys: "),
]


@pytest.mark.parametrize(("old", "new", "line", "says"), UNKNOWN, ids=[u[1][:30] for u in UNKNOWN])
def test_fault_42_an_unknown_key_is_located_and_guessed(old, new, line, says):
    refused(TEXT.replace(old, new, 1), f"c.yaml:{line}: {says}")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("seed: 3", "seed: 3\nseed: 4", 'c.yaml:3: not valid YAML: found duplicate key "seed"; write each key once'),
        ("low: 1,", "low: 1, low: 2,", "c.yaml:4: not valid YAML: found duplicate key"),
        ("    timeout", "\ttimeout", "c.yaml:12: not valid YAML: found character '\\t'"),
        ("    timeout", "\ttimeout", "indent with blanks, not with tabs"),
        ("responses: [y]", "responses: [y", "not valid YAML"),
        ("name: oven", "name: oven: b", "c.yaml:1: not valid YAML: mapping values are not allowed"),
        ("sources:\n", "sources: 3\nothers:\n", "c.yaml:7: sources = '3': is not a mapping of names to values"),
        ("guard:\n  limits: {x: [0, 6]}", "guard: [1]", "c.yaml:13: guard: is not a mapping of keys to values"),
        ("{x: [0, 6]}", "{x: 6}", "c.yaml:14: guard.limits.x = '6': is not a list; write [...]"),
        ("{x: [0, 6]}", "{x: [0]}", "c.yaml:14: guard.limits.x.1: is missing"),
        ("{x: [0, 6]}", "{x: [6, 0]}", "guard.limits.x [6, 0]: the lowest is above the highest; swap them"),
        ("limits: {x: [0, 6]}", "deadman_s: 5 min", "c.yaml:14: guard.deadman_s = '5 min': is not a number of seconds"),
        ("limits: {x: [0, 6]}", "deadman_s: 0", "c.yaml:14: guard.deadman_s = '0': must be above 0"),
        (
            "limits: {x: [0, 6]}",
            "deadman_s: 9\n  forbidden: ['x == 3']",
            "c.yaml:15: guard: constraint 'x == 3' is not a single",
        ),
        ("limits: {x: [0, 6]}", "interlocks: [{trip: 'import os'}]", "c.yaml:14: guard.interlocks.0"),
        (
            "timeout: 60",
            "on_failure: {backoff_s: 1 min}",
            "c.yaml:12: sources.oven.on_failure.backoff_s = '1 min': is not",
        ),
        (
            "timeout: 60",
            "on_failure: {retries: 99}",
            "c.yaml:12: sources.oven.on_failure.retries = '99': must be at most 20",
        ),
        ("timeout: 60", "on_failure: {means: bad}", "on_failure.means = 'bad': is none of 'infeasible' or 'missing'"),
        ("timeout: 60", "on_unknown: guess", "c.yaml:12: sources.oven.on_unknown = 'guess': is none of 'ask'"),
        (
            "timeout: 60",
            "repeatable: perhaps",
            "c.yaml:12: sources.oven.repeatable = 'perhaps': is neither true nor false",
        ),
        ("timeout: 60", "approval: {above: {money: -1}}", "sources.oven.approval.above.money"),
        ("timeout: 60", "replicas: many", "c.yaml:12: sources.oven.replicas = 'many': is not a whole number"),
        ("goal: {maximize: y}", "goal: y", "c.yaml:15: goal"),
        (
            "budget: {money: 5, time: 2 hours}",
            "budget: 5",
            "c.yaml:16: budget = '5': is not a mapping of names to values",
        ),
    ],
)
def test_fault_42_a_broken_or_wrong_value_is_located(old, new, says):
    assert old in TEXT
    refused(TEXT.replace(old, new, 1), says)


def test_fault_42_a_json_file_has_lines_too():
    declared = json.dumps(read(TEXT).to_dict(), indent="\t").replace('"seed"', '"sede"')
    Path("c.json").write_text(declared)
    line = next(n for n, text in enumerate(declared.splitlines(), 1) if '"sede"' in text)
    with pytest.raises(CampaignError, match=rf"c\.json:{line}: sede: unknown key; did you mean 'seed'\?"):
        read_campaign(Path("c.json"))


BOUNDS = [
    ("low: 1, high: 5", "low: 5, high: 5", "low 5.0 must be below high 5.0"),
    ("low: 1, high: 5", "low: 6, high: 5", "low 6.0 must be below high 5.0; exchange or correct them"),
    ("low: 1", "low: .nan", ".nan is not a finite number"),
    ("high: 5", "high: .inf", ".inf is not a finite number"),
    ("high: 5", "high: 1e400", "1e400 is not a finite number"),
    ("low: 1, high: 5", "low: -1.7e308, high: 1.7e308", "too far apart"),
    ("low: 1, high: 5", "low: 0, high: 5, scale: log", "low 0.0 must be above 0 for scale: log"),
    ("low: 1, high: 5", "low: -1, high: 5, scale: log", "low -1.0 must be above 0 for scale: log"),
    ("low: 1, high: 5, unit: degC", "levels: [1, 1]", "levels repeat 1"),
    ("choices: [a, b]", "choices: []", "parameters.mode.choices"),
    ("choices: [a, b]", "choices: [a, a]", "choices repeat a; name each once"),
    ("choices: [a, b]", "choices: [1, '1']", "choices repeat 1; name each once"),
    ("choices: [a, b]", "choices: a", "choices must be a list"),
]


@pytest.mark.parametrize(("old", "new", "says"), BOUNDS, ids=[b[1] for b in BOUNDS])
def test_fault_43_bounds_and_choices(old, new, says):
    text = refused(TEXT.replace(old, new, 1), says)
    assert text.startswith(f"c.yaml:{4 if 'unit' in old or 'low' in old or 'high' in old else 5}: ")


@pytest.mark.parametrize("n", [1001, 30_000, 1_000_000])
def test_fault_43_too_many_choices_are_refused_before_they_are_built(n):
    began = time.process_time()
    refused(TEXT.replace("[a, b]", "[" + ", ".join(f"c{k}" for k in range(n)) + "]"), "more than")
    assert time.process_time() - began < 30  # of any machine: it must not hang, however slow that is


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: !!python/object/apply:os.system [touch canary]", "the tag"),
        ("a: !!python/name:os.system", "the tag"),
        ("a: !mine {b: 1}", "the tag !mine is not allowed"),
        ("a: !!binary aGk=", "the tag !!binary is not allowed"),
        ("a: !!set {b, c}", "the tag !!set is not allowed"),
        ("a: !!omap [b: 1]", "the tag !!omap is not allowed"),
        ("%YAML 1.1\n---\na: no", "a directive (%YAML or %TAG) is not read; leave it out"),
        ("%TAG !p! tag:yaml.org,2002:python/\n---\na: !p!name:os.system", "a directive"),
        ("a: &a [*a]", "holds itself"),
        ("a: 1\n---\nb: 2", "not valid YAML"),
        ("a: *b", "undefined alias"),
        ("a: \x00", "not valid YAML"),
        ("a: " + "9" * 5000, "not valid YAML"),
    ],
)
def test_fault_44_no_tag_names_an_object(text, says, folder):
    refused(text, "c.yaml", says)
    assert not (folder / "canary").exists()


def test_fault_44_a_billion_laughs_are_not_unfolded():
    laughs = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"{chr(98 + i)}: &{chr(98 + i)} [{','.join('*' + chr(97 + i) for _ in range(9))}]\n" for i in range(8)
    )
    refused(laughs, f"its aliases unfold to more than {MAX_ENTRIES} entries")


def test_fault_44_huge_files_and_what_is_no_file_are_refused(folder):
    refused("x: " + "y" * MAX_BYTES, f"more than {MAX_BYTES}")
    refused("a: [" + "1," * (MAX_ENTRIES + 1) + "]", f"more than {MAX_ENTRIES} entries")
    os.mkfifo("pipe")
    for path in ("pipe", "/dev/zero", str(folder), "absent.yaml"):
        with pytest.raises(CampaignError, match="is not a file"):
            read_campaign(Path(path))


def test_an_anchor_and_a_merge_are_read():
    data, _ = parse("base: &base {low: 0, high: 1}\nx: {<<: *base, high: 2}\ny: *base")
    assert data == {"base": {"low": 0, "high": 1}, "x": {"low": 0, "high": 2}, "y": {"low": 0, "high": 1}}


# Code named by a campaign


@pytest.mark.parametrize(
    "target",
    [
        *("os:system", "subprocess:Popen", "builtins:exec", "antigravity:x", "this:s", "os.path:join", "posix:system"),
        *("pip:main", "typer.__main__:main", "test.autotest:x", "rich.progress:Progress", "..f:X", ":X", "a b:X"),
    ],
)
def test_fault_44_a_module_that_is_no_source_is_not_even_imported(target):
    module = target.partition(":")[0]
    code = (
        "import sys\nfrom closedloop.controller.campaign import Campaign\n"
        "from closedloop.controller.source import find_source\n"
        "before = set(sys.modules)\n"
        f"try:\n    find_source({target!r})\n"
        "except ValueError as error:\n    print(error, file=sys.stderr)\n"
        f"print({module!r} in set(sys.modules) - before)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
    assert "source " in done.stderr and target in done.stderr


PACKAGE = {
    "lab/__init__.py": "from .drivers import Furnace as Exported\nfrom .star import *\n",
    "lab/drivers.py": "from lab import base\nclass Furnace(base.Base):\n    def measure(self, setting):\n        return {}\n",
    "lab/base.py": "import closedloop as cl\ntry:\n    class Base(cl.Instrument):\n        pass\nexcept ImportError:\n    raise\n",
    "lab/star.py": "from closedloop import *\n@simulator(cost={})\ndef starred(x):\n    return {}\n",
    "lab/made.py": "import closedloop.instruments.instrument as i\nwrapped: object = i.instrument(cost={})(lambda x: {})\n",
    "lab/inner/deep.py": "from ..base import Base\nclass Deep(Base):\n    def measure(self, setting):\n        return {}\n",
    "lab/evil.py": "open('canary', 'w')\nimport closedloop\nclass Plain: pass\ndef function(): pass\n",
    "lab/circle.py": "open('canary', 'w')\nfrom lab.circle import A as B\nfrom lab.circle import B as A\n",
    "lab/broken.py": "open('canary', 'w')\nthis is no Python\n",
    "lab/leaves.py": "import sys\nimport closedloop as cl\nclass L(cl.Simulator): ...\nsys.exit(7)\n",
}


@pytest.fixture
def lab(folder, monkeypatch):
    """A package in the user's environment."""
    for name, text in PACKAGE.items():
        path = folder / "site" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.syspath_prepend(str(folder / "site"))
    yield folder
    for name in [n for n in sys.modules if n == "lab" or n.startswith("lab.")]:
        del sys.modules[name]


@pytest.mark.parametrize(
    "target", ["lab:Exported", "lab:starred", "lab.drivers:Furnace", "lab.made:wrapped", "lab.inner.deep:Deep"]
)
def test_fault_44_a_source_of_an_installed_package_is_seen_and_found(lab, target):
    assert find_source(target).kind in ("instrument", "simulator")


@pytest.mark.parametrize(
    "target", ["lab.evil:Plain", "lab.evil:function", "lab.evil:absent", "lab.circle:A", "lab.broken:X", "lab.absent:X"]
)
def test_fault_44_a_module_that_shows_no_source_is_not_run(lab, target):
    with pytest.raises(CampaignError, match="does not show that|cannot be imported"):
        find_source(target)
    assert not (lab / "canary").exists()


def test_fault_44_a_module_that_leaves_at_import_is_said_of_its_source(lab):
    with pytest.raises(CampaignError, match="source 'lab.leaves:L': module 'lab.leaves' raised: SystemExit: 7"):
        find_source("lab.leaves:L")


def test_fault_44_the_command_line_imports_nothing_from_the_current_folder(folder):
    for name in ("yaml", "rich", "typer", "pydantic", "tooling", "json"):
        (folder / f"{name}.py").write_text(
            "open('canary', 'w')\nimport closedloop as cl\nclass X(cl.Instrument): ...\n"
        )
    (folder / "c.yaml").write_text(TEXT.replace("instrument: manual", 'instrument: "tooling:X"'))
    script = Path(sys.executable).with_name("closedloop")
    done = subprocess.run([script, "check", "c.yaml"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "module 'tooling' cannot be imported" in done.stderr and "./tooling.py:Name" in done.stderr
    assert not (folder / "canary").exists()


# The rule file


RULES = """\
# of the hall, for every device
limits:
  x: [0, 6]
forbidden: ["x > 5.5"]
interlocks:
  - {trip: "pressure >= 6", every_s: 0.5}
"""
WITH_FILE = TEXT.replace("guard:\n  limits: {x: [0, 6]}", "guard: rules.yaml")


def test_the_rules_of_a_guard_may_stand_beside_the_campaign(folder):
    (folder / "rules.yaml").write_text(RULES)
    campaign = read(WITH_FILE.replace("timeout: 60", "guard: rules.yaml"))
    assert campaign.guard.limits == {"x": (0.0, 6.0)}
    assert campaign.sources["oven"].guard == campaign.guard
    assert "rules.yaml" not in json.dumps(campaign.to_dict())  # the ledger holds the rules themselves


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("limits:", "limit:", "rules.yaml:2: guard.limit: unknown key; did you mean 'limits'?"),
        ("[0, 6]", "[0, high]", "rules.yaml:3: guard.limits.x.1 = 'high': is not a number; write one"),
        ("every_s", "evry_s", "rules.yaml:6: guard.interlocks.0.evry_s: unknown key; did you mean 'every_s'?"),
        ("every_s: 0.5", "every_s: 0", "rules.yaml:6: guard.interlocks.0.every_s = '0': must be above 0"),
        ("x: [0, 6]", "x: [0, 6]\n  x: [0, 7]", "c.yaml:13: guard: rules.yaml:4: not valid YAML: found duplicate key"),
        ("limits:", "limits: !!python/name:os.system", "c.yaml:13: guard: rules.yaml:2: "),
        (RULES, "- a", "rules.yaml:1: a rule file is a mapping of keys to values, not a list"),
    ],
)
def test_a_mistake_in_a_rule_file_is_located_there(folder, old, new, says):
    assert old in RULES
    (folder / "rules.yaml").write_text(RULES.replace(old, new, 1))
    refused(WITH_FILE, says)


def test_a_rule_file_that_is_not_there_is_named_with_the_line_of_the_campaign():
    refused(WITH_FILE, "c.yaml:13: guard: ", "rules.yaml: is not a file; correct the path")
    refused(TEXT.replace("timeout: 60", "guard: no.yaml"), "c.yaml:12: sources.oven.guard: ", "no.yaml: is not a file")
