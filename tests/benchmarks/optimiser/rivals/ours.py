"""closedloop through its public Python API: a Session where one source answers, cl.run where several compete."""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Sequence
from pathlib import Path

from problem import Choice, Problem, Setting, Source, Whole
from world import World

import closedloop as cl
from rivals.rival import NotSupportedError, Rival


class ClosedLoop(Rival):
    def __init__(self, problem: Problem, seed: int) -> None:
        super().__init__(problem, seed)
        self.folder = tempfile.TemporaryDirectory()
        self.open: tuple[cl.Trial, ...] = ()
        self.session: cl.Session | None = None

    def declaration(self) -> dict[str, object]:
        """The campaign, but for its sources."""
        problem = self.problem
        words = {True: "maximize", False: "minimize"}
        goal: dict[str, object] = {}
        for way, word in words.items():
            named = [a.response for a in problem.aims if a.is_maximised is way]
            if named:
                goal[word] = named if len(problem.aims) > 1 else named[0]
        if problem.limited:
            goal["subject_to"] = [f"{name} <= 0" for name in problem.limited]
        declared: dict[str, object] = {
            "name": problem.name,
            "seed": self.seed,
            "parameters": {p.name: _parameter(p) for p in problem.parameters},
            "responses": list(problem.responses),
            "goal": goal,
        }
        if problem.rows:
            declared["candidates"] = str(self._library())
        return declared

    def _library(self) -> Path:
        path = Path(self.folder.name) / "candidates.csv"
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, [p.name for p in self.problem.parameters])
            writer.writeheader()
            writer.writerows(self.problem.rows)
        return path

    def ask(self, n: int) -> list[Setting]:
        if self.session is None:
            raise RuntimeError("play begins the session")
        self.open = self.session.suggest(n)
        return [dict(t.setting) for t in self.open]

    def tell(self, settings: Sequence[Setting], readings: Sequence[dict[str, float]]) -> None:
        for trial, reading in zip(self.open, readings, strict=True):
            self.session.ingest(trial.number, reading)

    def recommend(self) -> Setting | None:
        return _recommended(self.session)

    def play(self, world: World) -> None:
        with self.folder:
            if len(self.problem.sources) > 1:
                self._run(world)
                return
            campaign = _campaign(
                **self.declaration(),
                sources={"lab": {"instrument": "manual", "cost": {"money": self.problem.target.cost}}},
                budget={"money": world.budget},
            )
            with cl.Session(campaign, ledger=Path(self.folder.name) / "bench.db") as self.session:
                super().play(world)
                world.finish()

    def _run(self, world: World) -> None:
        """Sources of several costs: the agent chooses among them."""
        faults: list[Exception] = []
        sources = {s.name: _source_class(s, world, faults) for s in self.problem.sources}
        campaign = _campaign(**self.declaration(), sources=sources, budget={"money": world.budget})
        states: list[object] = []

        def watch(state: object, event: object) -> None:
            states[:] = [state]

        world.advise = lambda: _recommended(cl.Result(states[-1]))
        result = cl.run(campaign, ledger=Path(self.folder.name) / "bench.db", executor="inline", watch=watch)
        if faults:
            raise faults[0]
        if not result.state.stopped:
            raise RuntimeError(f"ended before its budget: {result.why_stopped}")
        world.finish()


def _campaign(**declared: object) -> cl.Campaign:
    try:
        return cl.Campaign(**declared)
    except cl.CampaignError as error:
        raise NotSupportedError(" ".join(str(error).split())) from None


def _recommended(found: cl.Result | cl.Session) -> Setting | None:
    """The setting that the model takes for the best at the target; None before the first reading."""
    return dict(found.recommended.setting) if found.recommended is not None else None


def _source_class(source: Source, world: World, faults: list[Exception]) -> type:
    """The target is an instrument; what is cheaper is a simulator of it."""

    def answer(self: object, setting: Setting, unknowns: object = None) -> object:
        try:
            (reading,) = world.measure([dict(setting)], source.name)
        except Exception as fault:  # the agent would take it for a fault of the source and go on
            faults.append(fault)
            raise
        return reading

    is_target = source is world.problem.target
    base = cl.Instrument if is_target else cl.Simulator
    body = {
        "__module__": __name__,
        "parameters": tuple(p.name for p in world.problem.parameters),
        "cost": {"money": source.cost},
        **({"is_real": False, "measure": answer} if is_target else {"simulate": answer}),
    }
    return type(source.name, (base,), body)


def _parameter(p: object) -> dict[str, object]:
    if isinstance(p, Choice):
        return {"choices": list(p.choices)}
    if isinstance(p, Whole):
        return {"kind": "integer", "low": p.low, "high": p.high}
    return {"low": p.low, "high": p.high, **({"scale": "log"} if p.log else {})}
