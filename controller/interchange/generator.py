"""closedloop as a generator of gest-api, for the loops of Xopt, libEnsemble and whoever else speaks it.

Laws:
    * What was suggested and not answered is pending: no setting is suggested twice for want of an answer.
    * What is suggested, and what is ingested, stands in a ledger before it counts; the same ledger goes on.
"""

from __future__ import annotations

import math
import shutil
import tempfile
import weakref
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..campaign import Campaign
from ..errors import CampaignError, ClosedLoopError
from ..experiments import Experiment
from ..records import Trial
from ..session import Session
from .needs import needed
from .vocs import Declared, Domains, declared_of

_Base: Any = needed("gest_api.generator", extra="gest").Generator
SOURCE = "evaluator"
MAX_TRIALS = 100_000
ID = "_id"


class Generator(_Base):  # type: ignore[misc]
    """Suggests where to evaluate next, and learns from what came back.

    Example:
        >>> generator = Generator(VOCS(variables={"x": [0, 1]}, objectives={"y": "MAXIMIZE"}))
        >>> point, = generator.suggest(1)
        >>> generator.ingest([{**point, "y": 3.2}])

    Args:
        vocs: what is varied, aimed at, kept within limits and observed. Contextual variables are not suggested; their
            values come with the results. A result that is None or not finite is a failure, and learned from as such.
        ledger: the SQLite file that keeps everything; a temporary one if absent, gone with the generator.
        name: of the campaign in it.
        seed: of all decisions.
        domains: bounds of contextual variables that have none of their own.
        max_trials: after which nothing is suggested.
        campaign: more keys of a campaign file, such as ``{"n_initial": 5, "stop": "converged(20)"}``.
    """

    returns_id = True

    def __init__(
        self,
        vocs: Any,
        *,
        ledger: str | Path | None = None,
        name: str = "generator",
        seed: int = 0,
        domains: Domains | None = None,
        max_trials: int = MAX_TRIALS,
        campaign: Mapping[str, Any] | None = None,
    ) -> None:
        self.vocs = vocs
        self._domains = domains
        self._validate_vocs(vocs)
        self._declared: Declared = declared_of(vocs, domains=domains)
        self._campaign = self._campaign_of(name, seed, max_trials, campaign or {})
        self._folder = None if ledger is not None else tempfile.mkdtemp(prefix="closedloop-")
        self._ledger = Path(ledger) if ledger is not None else Path(self._folder or "") / "generator.db"
        self._session: Session | None = None
        if self._folder is not None:
            weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)

    def __deepcopy__(self, memo: dict[int, Any]) -> Generator:
        """Itself: a copy, such as Xopt makes of what it is given, would write the same ledger."""
        return self

    def _validate_vocs(self, vocs: Any) -> None:
        """Raise a ValueError that names what has no meaning here."""
        declared_of(vocs, domains=self._domains)

    def suggest(self, num_points: int | None = None) -> list[dict[str, Any]]:
        """The next points, with the constants of the VOCS and an ``_id`` each.

        Raises:
            ValueError: if so many cannot be suggested.
        """
        try:
            trials = self._open().suggest(1 if num_points is None else num_points)
        except CampaignError:
            raise
        except ClosedLoopError as error:
            raise CampaignError(str(error)) from error
        return [self._point(trial) for trial in trials]

    def ingest(self, results: Iterable[Mapping[str, Any]]) -> None:
        """Learn from evaluated points, of which some may have been suggested by nobody.

        Raises:
            ValueError: before any is learned from, if an ``_id`` is unknown or answered already, or if a point lacks a
                key or lies outside the variables' domains.
        """
        rows = [self._plain(row) for row in results]
        if rows:
            self._open().record([self._experiment(k, row) for k, row in enumerate(rows)])

    def add_data(self, new_data: Any) -> None:
        """Ingest a data frame of earlier evaluations, as Xopt does with data that it is given at its start.

        Points that stand in the ledger already are not learned from twice.
        """
        known = {n: t for n, t in self._open().state.trials.items() if t.reading is not None or t.failure is not None}
        rows = [self._plain(row) for row in new_data.to_dict(orient="records")]
        self.ingest([row for row in rows if row.get(ID) not in known])

    def finalize(self) -> None:
        """Close the ledger; everything stands in it already. The next call opens it again."""
        if self._session is not None:
            self._session.close()
            self._session = None

    @property
    def session(self) -> Session:
        """The session behind it: its state, its best reading, its pending trials."""
        return self._open()

    @property
    def ledger(self) -> Path:
        """The file that keeps everything."""
        return self._ledger

    def _open(self) -> Session:
        """Opened where it is used: the generator itself can be handed to another process before."""
        if self._session is None:
            self._session = Session(self._campaign, ledger=self._ledger)
        return self._session

    def __getstate__(self) -> dict[str, Any]:
        if self._session is not None:
            raise ClosedLoopError("a generator that is in use cannot be handed to another process; finalize it first")
        return self.__dict__

    def _campaign_of(self, name: str, seed: int, max_trials: int, more: Mapping[str, Any]) -> Campaign:
        declared = self._declared
        return Campaign(
            **{
                "name": name,
                "seed": seed,
                "parameters": declared.parameters,
                "responses": [declared.names.ours[n] for n in declared.responses],
                "sources": {SOURCE: {"instrument": "manual"}},
                "goal": declared.goal,
                "budget": {"trials": max_trials},
                **more,
            }
        )

    def _point(self, trial: Trial) -> dict[str, Any]:
        """A trial in the words of the VOCS."""
        declared = self._declared
        point = {}
        for name in self.vocs.variable_names:
            if name not in declared.contexts:
                value = trial.setting[declared.names.ours[name]]
                point[name] = declared.labels.get(name, {}).get(str(value), value)
        return {**point, **declared.constants, ID: trial.number}

    def _plain(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Numbers of NumPy as numbers; an ``_id`` that stands for none is left out."""
        plain = {str(k): v.item() if getattr(v, "shape", None) == () else v for k, v in row.items()}
        number = plain.get(ID)
        if number is None or (isinstance(number, float) and not math.isfinite(number)) or number == -1:
            plain.pop(ID, None)
        elif isinstance(number, float) and number.is_integer():  # a column in which some are missing
            plain[ID] = int(number)
        return plain

    def _experiment(self, k: int, row: dict[str, Any]) -> Experiment:
        declared = self._declared
        number, setting = row.get(ID), None
        if number is not None and (isinstance(number, bool) or not isinstance(number, int)):
            raise CampaignError(
                f"result {k}: _id {number!r} is unknown; leave it out where the point was not suggested"
            )
        if number is None:
            setting = {declared.names.ours[n]: self._value(k, row, n) for n in self.vocs.variable_names}
        failed = self._failure(k, row)
        if failed:
            return Experiment(setting=setting, trial=number, failed=failed)
        return Experiment(setting=setting, trial=number, answer=self._answer(k, row, number))

    def _value(self, k: int, row: Mapping[str, Any], name: str) -> Any:
        if name not in row:
            raise CampaignError(f"result {k} lacks the variable {name!r}; give every variable a value")
        return str(row[name]) if name in self._declared.labels else row[name]

    def _failure(self, k: int, row: Mapping[str, Any]) -> str:
        """Why a result is no reading; empty where it is one."""
        lost = [n for n in self._declared.responses if n not in row]
        if lost and not row.get("xopt_error"):
            raise CampaignError(f"result {k} lacks {lost[0]!r}; give it, or None if its evaluation failed")
        bad = [n for n in self._declared.responses if not _is_number(row.get(n))]
        if not bad:
            return ""
        said = row.get("xopt_error_str")
        return f"{bad[0]} is {row.get(bad[0])!r}" + (f": {said}" if isinstance(said, str) and said else "")

    def _answer(self, k: int, row: Mapping[str, Any], number: int | None) -> Any:
        from ..records import Reading

        ours = self._declared.names.ours
        values = {ours[n]: float(row[n]) for n in self._declared.responses}
        known = {*self.vocs.variable_names, *self.vocs.constant_names, *self._declared.responses, ID}
        info = {n: x for n, x in row.items() if n not in known}
        given = [n for n in self._declared.contexts if number is not None and n in row]
        return Reading(values=values, info=info, achieved={ours[n]: float(self._value(k, row, n)) for n in given})


def _is_number(x: Any) -> bool:
    return isinstance(x, int | float) and not isinstance(x, bool) and math.isfinite(x)
