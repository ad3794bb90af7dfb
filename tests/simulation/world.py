"""A whole laboratory in one thread: controller, ledger's disk, devices, links, people and crashes, driven by a seed.

    python tests/simulation/world.py SEED          plays one history and prints every step
    python tests/simulation/world.py 0 10000       plays ten thousand and prints what they came to

The mind, the loop, the table of states and the guard's rules are the real ones; time, the disk, the processes and
the devices are played. A crash may fall before or after any write and any command. After every step the
invariants are checked against the devices' own record of what was done to them.
"""

from __future__ import annotations

import itertools
import random
import sys
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import closedloop as cl
from closedloop.controller.evolve import replay
from closedloop.controller.executor import Executor
from closedloop.controller.guard.check import Guard
from closedloop.controller.lifecycle import READ
from closedloop.controller.loop import Hands, run_loop
from closedloop.controller.perform import cancelled, cannot_tell, failed, held, never_begun
from closedloop.controller.records import (
    Amended,
    AnyEvent,
    Approved,
    Ending,
    Failed,
    Observed,
    Paused,
    Proposed,
    Quarantined,
    Reading,
    Refused,
    Restored,
    Resumed,
    Settled,
    Started,
    Trial,
    dump_event,
    load_event,
)
from closedloop.controller.state import State

MAX_CRASHES = 12
LIMIT = 0.9  # of x on the device: what the guard must never let through
STEP = 0.5  # of y from one command to the next
P_TRIP = 0.03  # that an interlock trips in the middle of a trial
CUT_OFF = 99.0  # what a driver reads of a device that was made safe meanwhile


class Crash(BaseException):
    """The controller's process is gone."""


class Broken(AssertionError):
    """An invariant does not hold."""


@cl.instrument(cost={"money": 3})
def lab(x: float, y: float) -> dict:
    return {"f": x - y}


@cl.simulator(cost={"money": 1})
def model(x: float, y: float) -> dict:
    return {"f": x - y + 0.1}


@dataclass
class Device:
    """What really happened: every command that arrived, and what the device still remembers of it."""

    rng: random.Random
    has_memory: bool
    commands: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    results: dict[int, Reading] = field(default_factory=dict)
    n_made_safe: int = 0
    told: list[dict[str, Any]] = field(default_factory=list)  # in the fence's file: where the device may be
    path: list[tuple[str, float]] = field(default_factory=list)  # how it came to each y: by a command, or made safe
    is_tripped: bool = False
    cut_off: set[int] = field(default_factory=set)  # trials in the middle of which it was made safe

    def command(self, trial: Trial) -> Reading:
        """It acts; nothing can undo that."""
        self.commands.append((trial.number, dict(trial.setting)))
        x, y = float(trial.setting["x"]), float(trial.setting["y"])
        self.path.append(("command", y))
        reading = Reading(values={"f": x - y + self.rng.gauss(0, 0.01)})
        self.results[trial.number] = reading
        return reading

    def make_safe(self, safe: Mapping[str, float]) -> None:
        """Its guard or its driver does; both remember where that takes it."""
        self.n_made_safe += 1
        if safe and self.told:
            self.told = [{**self.told[-1], **safe}]
            self.path.append(("safe", safe["y"]))

    def times(self, number: int) -> int:
        """How often a trial was carried out."""
        return sum(n == number for n, _ in self.commands)


@dataclass
class Disk:
    """What survives a crash: the ledger's rows and the letters that people left."""

    rows: list[tuple[str, str, datetime]] = field(default_factory=list)
    letters: dict[int, AnyEvent] = field(default_factory=dict)
    taken: dict[int, int] = field(default_factory=dict)  # letter -> seq
    n_letters: int = 0
    _read: list[AnyEvent] = field(default_factory=list)  # as a reader finds it: only what is on the disk

    def post(self, event: AnyEvent) -> None:
        self.n_letters += 1
        self.letters[self.n_letters] = event

    def events(self) -> list[AnyEvent]:
        for k in range(len(self._read), len(self.rows)):
            _, payload, time = self.rows[k]
            self._read.append(load_event(payload, seq=k + 1, time=time))
        return self._read


class PlayedLedger:
    """The contract of ``Ledger``: what ``append`` returned is on the disk; the row and its letter go together."""

    def __init__(self, world: World) -> None:
        self.world, self._given = world, set[int]()

    def append(self, event: AnyEvent) -> AnyEvent:
        self.world.may_crash("before a write")
        disk, time = self.world.disk, self.world.now()
        disk.rows.append((event.kind, dump_event(event), time))
        if event.letter is not None:
            disk.taken[event.letter] = len(disk.rows)
        self.world.tell(f"{len(disk.rows):4d} {event.kind:11s} {dump_event(event)[:150]}")
        self.world.may_crash("after a write")
        return event.model_copy(update={"seq": len(disk.rows), "time": time})

    def inbox(self) -> list[AnyEvent]:
        disk = self.world.disk
        new = [k for k in disk.letters if k not in disk.taken and k not in self._given]
        self._given.update(new)
        return [disk.letters[k].model_copy(update={"letter": k}) for k in new]


class PlayedExecutor(Executor):
    """The contract of ``Executor`` over bad links to a device that goes on whatever becomes of the controller."""

    def __init__(self, world: World, bindings: dict[str, Any], ledger: PlayedLedger) -> None:
        self.world, self.bindings, self.ledger = world, bindings, ledger
        self._guards = {name: Guard(b.guard, name=name) for name, b in bindings.items()}
        if world.device.told:  # the fence's file remembers it
            told = world.device.told
            self._guards["lab"].commanded(told[-1], world.clock, doubted=tuple(told[:-1]))
        self._flying: list[AnyEvent] = []
        self._queue: list[Trial] = []
        self._expected: set[int] = set()
        self._mail: deque[AnyEvent] = deque()  # type: ignore[assignment]

    @property
    def is_busy(self) -> bool:
        return bool(self._flying or self._queue or self._mail)

    def submit(self, trial: Trial) -> None:
        self._queue.append(trial)

    def expect(self, number: int) -> None:
        self._expected.add(number)

    def hold(self) -> None:
        self._flying += [never_begun(cancelled(t.number)) for t in self._queue]
        self._queue = []

    def _carry_out(self, trial: Trial) -> None:
        world, binding = self.world, self.bindings[trial.source]
        world.may_crash("before a command")
        guard, who = self._guards[trial.source], f"guard of {trial.source!r}"
        refusal = guard.refusal(trial.setting, now_s=world.clock)
        if refusal is not None:
            self._flying.append(
                Refused(trial=trial.number, by=who, reason=refusal.reason, rule=refusal.rule, places=guard.places)
            )
            return
        if binding.kind == "instrument" and world.device.is_tripped:
            self._mail.append(Paused(by=who, reason="tripped"))
            self._flying.append(held(trial, "tripped", binding))
            return
        self._guards[trial.source].commanded(trial.setting, world.clock)
        if binding.kind == "instrument":
            world.device.told.append(dict(trial.setting))
        fate = world.rng.choices(
            ["reading", "error", "nan", "cut before", "cut after", "told twice", "late"], [60, 6, 4, 6, 6, 6, 6]
        )[0]
        if fate == "error":
            self._flying.append(failed(trial, "error", "pump dry", binding=binding))
            return
        if fate == "cut before":
            self._flying.append(failed(trial, "unknown", "link cut", binding=binding))
            return
        if binding.kind == "simulator":
            reading = Reading(values={"f": float(trial.setting["x"])})
        else:
            world.check_command(trial)
            reading = world.device.command(trial)
            if world.rng.random() < P_TRIP:
                self._trip(trial, binding)
                return
        world.may_crash("after a command")
        answer = Observed(trial=trial.number, reading=reading)
        if binding.kind == "instrument" and fate in ("reading", "told twice"):
            self._guards[trial.source].reached()
            world.device.told = world.device.told[-1:]
        if fate == "nan":
            self._flying.append(failed(trial, "invalid", "f=nan", binding=binding))
        elif fate == "cut after":
            self._flying.append(failed(trial, "timeout", "no answer", binding=binding))
        elif fate == "late":
            self._flying += [failed(trial, "timeout", "no answer", binding=binding), answer]
        else:
            self._flying += [answer, answer] if fate == "told twice" else [answer]

    def _trip(self, trial: Trial, binding: Any) -> None:
        """An interlock makes the device safe in the middle of a trial: the driver's answer says nothing."""
        device, guard = self.world.device, self._guards[trial.source]
        device.is_tripped = True
        device.cut_off.add(trial.number)
        device.results.pop(trial.number)
        device.make_safe(self.world.safe)
        if self.world.safe:
            guard.commanded(device.told[-1], self.world.clock, doubted=())
        answer = failed(trial, "unknown", "the device was made safe meanwhile", binding=binding)
        self._flying.append(answer.model_copy(update={"info": {"reading": {"f": CUT_OFF}}}))
        self._mail.append(Paused(by=f"guard of {trial.source!r}", reason="tripped"))
        self.world.may_crash("after a trip")

    def why_held(self) -> str:
        return "'lab': tripped; it trips still" if self.world.device.is_tripped else ""

    def recover(self, trial: Trial) -> None:
        device = self.world.device
        self.world.may_crash("before a question")
        if not device.has_memory or trial.number in device.cut_off or self.world.rng.random() < 0.2:
            self._flying.append(cannot_tell(trial, "no memory"))
        elif trial.number in device.results:
            self._flying.append(Observed(trial=trial.number, reading=device.results[trial.number]))
        else:
            self._flying.append(Settled(trial=trial.number, outcome="not_started", by="driver"))

    def wait(self) -> AnyEvent:
        self.world.step()
        self._mail.extend(self.ledger.inbox())
        if self._mail:
            return self._mail.popleft()
        if self._queue:
            self._carry_out(self._queue.pop(0))
        k = self.world.rng.randrange(len(self._flying))
        return self._flying.pop(k)

    def heard(self) -> AnyEvent | None:
        self._mail.extend(self.ledger.inbox())
        return self._mail.popleft() if self._mail else None

    def listen(self, patience_s: float | None) -> AnyEvent | None:
        for _ in range(40):
            self.world.step()
            self._mail.extend(self.ledger.inbox())
            if self._mail:
                return self._mail.popleft()
        return None

    def cancel(self, number: int) -> None:
        if any(t.number == number for t in self._queue):
            self._queue = [t for t in self._queue if t.number != number]
            self._flying.append(never_begun(cancelled(number)))
        if any(getattr(e, "trial", None) == number for e in self._flying) and self.world.rng.random() < 0.5:
            self._flying = [e for e in self._flying if getattr(e, "trial", None) != number]
            self._flying.append(never_begun(cancelled(number)))

    def make_safe(self) -> dict[str, str]:
        device, guard = self.world.device, self._guards["lab"]
        device.make_safe(self.world.safe)
        if self.world.safe and device.told:
            guard.commanded(device.told[-1], self.world.clock, doubted=())
        self.world.may_crash("while making safe")
        return {"lab": "the valve is stuck"} if self.world.rng.random() < 0.1 else {}

    def close(self) -> None:
        """Nothing is held."""


class World:
    """One history."""

    def __init__(self, seed: int, *, is_told: bool = False) -> None:
        self.rng = random.Random(seed)
        self.is_told = is_told
        self.clock = 0.0
        self.disk = Disk()
        self.device = Device(self.rng, has_memory=self.rng.random() < 0.6)
        self.p_crash = self.rng.choice([0.0, 0.01, 0.04])
        self.n_crashes = 0
        self.steps = self.rng.choice([{}, {"max_step": {"y": STEP}}])
        self.safe: dict[str, float] = self.rng.choice([{}, {"y": 0.0}])
        self.campaign = self._declared()

    def _declared(self) -> cl.Campaign:
        rng = self.rng
        approval = rng.choice([{}, {}, {"above": {"money": 2}}, {"outside_explored": 0.3}])
        return cl.Campaign(
            name="world",
            seed=rng.randrange(1000),
            parameters={"x": {"low": 0, "high": 1}, "y": {"low": 0, "high": 1}},
            responses=["f"],
            sources={
                "lab": {
                    "instrument": lab,
                    "cost": {"money": 3},
                    "on_unknown": rng.choice(["ask", "abandon", "rerun"]),
                    "approval": approval,
                    "guard": {
                        "limits": {"x": [0.0, LIMIT]},
                        "forbidden": ["x + y >= 1.6"],
                        "safe_setting": self.safe,
                        **self.steps,
                    },
                },
                "model": {"simulator": model, "cost": {"money": 1}, "replicas": 2},
            },
            goal={"maximize": "f"},
            budget={"money": rng.choice([12, 30, 45])},
            belief="climatology",
        ).resolve()

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.clock)

    def tell(self, text: str) -> None:
        if self.is_told:
            print(text)

    def may_crash(self, where: str) -> None:
        self.clock += self.rng.random()
        if self.n_crashes < MAX_CRASHES and self.rng.random() < self.p_crash:
            self.n_crashes += 1
            self.tell(f"     CRASH {where}")
            raise Crash

    def step(self) -> None:
        """Time goes by, people write, and the world is looked at."""
        self.may_crash("while waiting")
        self.clock += self.rng.random()
        if self.rng.random() < 0.25:
            self._person()
        if self.rng.random() < 0.25:
            self.device.is_tripped = False  # it cools down
        self.check()

    def _person(self) -> None:
        state, rng = replay(self.campaign, self.disk.events()), self.rng
        numbers = list(state.trials)
        n = rng.choice(numbers) if numbers else 1
        if state.waiting and rng.random() < 0.8:
            n = rng.choice(state.waiting)
            edit = {"x": rng.choice([0.2, 0.95, 5.0])} if rng.random() < 0.4 else {}
            yes: AnyEvent = Approved(trial=n, by="ann", setting=edit)
            self._post(yes if rng.random() < 0.7 else Refused(trial=n, by="ann", reason="no"))
            return
        asked = [k for k in state.doubts if state.trials[k].doubt == "asked"]
        if asked and rng.random() < 0.8:
            words: list[AnyEvent] = [
                Settled(trial=asked[0], outcome="rerun", by="bob"),
                Settled(trial=asked[0], outcome="abandoned", by="bob"),
                Observed(trial=asked[0], reading=Reading(values={"f": 0.5})),
                Failed(trial=asked[0], cause="error", message="spilt"),
            ]
            self._post(rng.choice(words))
            return
        if state.paused and rng.random() < 0.8:
            self._post(Resumed(by="ann"))
            return
        anything: list[AnyEvent] = [
            Observed(trial=n, reading=Reading(values={"f": 0.1})),
            Failed(trial=n, cause="error", message="by hand"),
            Paused(by="ann", reason="lunch"),
            Quarantined(trial=n, by="ann", reason="looks odd"),
            Restored(trial=n, by="ann"),
            Amended(by="ann", changes={"budget.money": rng.choice([9, 30, 60])}),
            Amended(by="ann", changes={"parameters.x.high": rng.choice([0.5, 1.0, 2.0])}),
            Amended(by="ann", changes={"constraints": rng.choice([[], ["x + y <= 1.2"]])}),
            Amended(by="ann", changes={"responses": {}}),
            Approved(trial=n, by="eve", setting={"x": 0.97}),
            Paused(by="bob", reason="alarm"),
            Refused(trial=n, by="eve", reason="no", rule="limits.x"),
            Observed(trial=n, reading=Reading(values={"g": 1.0})),
            Settled(trial=n, outcome="rerun", by="eve"),
        ]
        if rng.random() < 0.03:
            anything = [Ending(by="ann", mode=rng.choice(["stop", "abort"]))]
        self._post(rng.choice(anything))

    def _post(self, event: AnyEvent) -> None:
        self.tell(f"     letter: {dump_event(event)[:140]}")
        self.disk.post(event)

    # The history.

    def play(self) -> State:
        """From the start, through every crash, to the end.

        Raises:
            Broken: if an invariant does not hold.
        """
        while True:
            try:
                state = self._one_life()
            except Crash:
                self.device.make_safe(self.safe)  # its guard outlives the controller
                self.check()
                continue
            self.check()
            self._check_end(state)
            return state

    def _one_life(self) -> State:
        ledger = PlayedLedger(self)
        events = self.disk.events()
        state = replay(self.campaign, events)
        executor = PlayedExecutor(self, self.campaign.bind(), ledger)
        hands = Hands(ledger, executor, self._watch)  # type: ignore[arg-type]
        if not state.key:
            state = hands.write(state, Started(campaign=self.campaign.to_dict(), key="played"))
        return run_loop(state, hands, patience_s=lambda: 0.0)

    def _watch(self, state: State, event: AnyEvent) -> None:
        again = replay(self.campaign, self.disk.events()) if self.rng.random() < 0.05 else None
        if again is not None and _summary(again) != _summary(state):
            raise Broken(f"the live state is not what the ledger adds up to at event {event.seq}")

    # The invariants.

    def check_command(self, trial: Trial) -> None:
        """What must hold at the instant of a command, by what stands in the ledger then."""
        state = replay(self.campaign, self.disk.events())
        n, source = trial.number, trial.source
        self._must(state.trials[n].status == "acting", f"trial {n} was commanded while {state.trials[n].status}")
        self._must(state.ending is None, f"trial {n} was commanded after a person asked for the end")
        self._must(state.paused is None, f"trial {n} was commanded in a pause")
        self._must(not self.device.is_tripped, f"trial {n} was commanded while an interlock trips")
        doubts = [k for k in state.doubts if state.trials[k].trial.source == source]
        self._must(not doubts, f"trial {n} was commanded while trials {doubts} are in doubt")
        acting = [k for k in state.running if state.trials[k].status == "acting"]
        self._must(acting == [n], f"trials {acting} of one device are acting at once")
        events = self.disk.events()
        begun = max(k for k, e in enumerate(events) if e.kind == "acting" and e.trial == n)
        then = replay(self.campaign, events[:begun])  # a late answer may cost something after the decision to begin
        money = then.spent.get("money", 0.0) + trial.cost["money"]
        limit = then.campaign.budget_amounts["money"]
        self._must(money <= limit + 1e-9, f"trial {n} takes the spending to {money} of {limit}")
        if state.is_amended:
            state.campaign.space.check(trial.setting)

    def check(self) -> None:
        """What must hold at every instant."""
        events = self.disk.events()
        reruns = Counter(e.trial for e in events if isinstance(e, Settled) and e.outcome in ("rerun", "not_started"))
        proposed = Counter(e.trial.number for e in events if isinstance(e, Proposed))
        observed = Counter(e.trial for e in events if isinstance(e, Observed))
        intents = Counter(e.trial for e in events if e.kind == "acting")
        self._must(max(proposed.values(), default=0) <= 1, "a trial was proposed twice")
        self._must(max(observed.values(), default=0) <= 1, "a reading was counted twice")
        for n, _ in self.device.commands:
            self._must(self.device.times(n) <= 1 + reruns[n], f"trial {n} was carried out more often than it was let")
            self._must(self.device.times(n) <= intents[n], f"trial {n} was carried out without a written intent")
        for n, setting in self.device.commands:
            fits = setting["x"] <= LIMIT and setting["x"] + setting["y"] < 1.6
            self._must(fits, f"trial {n} commanded the forbidden setting {setting}")
        moves = itertools.pairwise(self.device.path if self.steps else [])
        steps = [abs(y - before) for (_, before), (how, y) in moves if how == "command"]
        self._must(max(steps, default=0.0) <= STEP + 1e-6, f"a step of {max(steps, default=0)} was commanded")
        believed = [e.trial for e in events if isinstance(e, Observed) and e.reading.values.get("f") == CUT_OFF]
        self._must(not believed, f"the readings of trials {believed} are believed, which were cut off")

    def _check_end(self, state: State) -> None:
        """What must hold once nobody says anything any more."""
        again = replay(self.campaign, self.disk.events())
        self._must(_summary(again) == _summary(state), "the last state is not what the ledger adds up to")
        idle = [n for n in state.running if state.trials[n].is_ours]
        self._must(not idle or state.paused is not None, f"trials {idle} are running for ever")
        is_aborted = state.ending is not None and state.ending.mode == "abort"
        self._must(not is_aborted or self.device.n_made_safe > 0, "an abort made nothing safe")
        lost = [k for k in self.disk.letters if k not in self.disk.taken]
        self._must(not lost or state.stopped is not None, f"letters {lost} were never taken")
        for n in {n for n, _ in self.device.commands}:
            self._must(n in state.trials, f"trial {n} was carried out and is not in the ledger")
        money = sum(amount.get("money", 0.0) for amount in _charges(self.disk.events()).values())
        self._must(abs(money - state.spent.get("money", 0.0)) < 1e-9, f"spent {state.spent} but charged {money}")
        fed = {n for r in state.readings.values() for n in r.observations.trials}
        read = {n for n, t in state.trials.items() if t.status in READ}
        self._must(fed == read, f"the belief is told of {fed ^ read} wrongly")

    def _must(self, holds: bool, words: str) -> None:
        if not holds:
            raise Broken(words)


def _charges(events: list[AnyEvent]) -> dict[tuple[int, int], dict[str, float]]:
    """What each attempt is charged, worked out anew from the events and not as the state does it."""
    declared: dict[int, dict[str, float]] = {}
    attempt: Counter[int] = Counter()
    charged: dict[tuple[int, int], dict[str, float]] = {}
    given_up: set[int] = set()
    for e in events:
        if isinstance(e, Proposed):
            declared[e.trial.number] = dict(e.trial.cost)
        elif isinstance(e, Observed):
            charged[e.trial, attempt[e.trial]] = {**declared[e.trial], **e.reading.cost}
        elif isinstance(e, Failed) and e.trial not in given_up:
            charged[e.trial, attempt[e.trial]] = dict(declared[e.trial] if e.cost is None else e.cost)
            given_up.add(e.trial)
        elif isinstance(e, Settled) and e.outcome in ("rerun", "not_started"):
            if e.outcome == "not_started":
                charged[e.trial, attempt[e.trial]] = {}
            attempt[e.trial] += 1
            given_up.discard(e.trial)
    return charged


def _summary(state: State) -> tuple[Any, ...]:
    statuses = {n: (t.status, t.attempt, t.doubt) for n, t in state.trials.items()}
    lists = (state.waiting, state.running, state.doubts, state.fresh, state.barren)
    return state.seq, statuses, lists, dict(state.spent), bool(state.paused), bool(state.stopped)


def play(seed: int, *, is_told: bool = False) -> World:
    """One history; a broken invariant names the seed and how to see it again."""
    world = World(seed, is_told=is_told)
    try:
        world.play()
    except Crash:  # pragma: no cover - play takes them
        raise
    except BaseException as error:
        raise Broken(
            f"seed {seed}: {type(error).__name__}: {error}; play it again: python tests/simulation/world.py {seed}"
        ) from error
    return world


def main(arguments: list[str]) -> None:
    """Play one seed aloud, or many."""
    first, n = int(arguments[0]), int(arguments[1]) if len(arguments) > 1 else 1
    if n == 1:
        print(play(first, is_told=True).disk.rows[-1])
        return
    totals: Counter[str] = Counter()
    for seed in range(first, first + n):
        world = play(seed)
        totals.update(histories=1, crashes=world.n_crashes, events=len(world.disk.rows))
        totals.update(actions=len(world.device.commands), letters=world.disk.n_letters)
        if seed % 500 == 499:
            print(f"{seed + 1 - first} histories", file=sys.stderr, flush=True)
    print(", ".join(f"{n} {what}" for what, n in totals.items()), "- none lost, none doubled, none forbidden")


if __name__ == "__main__":
    main(sys.argv[1:])
