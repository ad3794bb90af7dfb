"""Experiments of Ax: from the JSON snapshot of its Client to a study of ours, and back."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..campaign import Campaign
from ..errors import CampaignError, ClosedLoopError
from ..parameters import Categorical, Continuous, Derived, Fixed, Integer, Ordinal, Stepped
from .names import Names, campaign_name
from .needs import needed, quiet
from .portable import Past, Study, measured, metrics_of

SIMPLE = re.compile(r"\s*(\w+)\s*(<=|>=|<|>)\s*(-?[0-9.]+(?:[eE][-+]?\d+)?)\s*")


def read_ax(path: str | Path) -> Study:
    """The experiment in a snapshot that ``Client.save_to_json_file`` wrote.

    Raises:
        CampaignError: if the file is none, or if the experiment has no meaning here.
    """
    if not Path(path).is_file():
        raise CampaignError(f"{path}: is no file; name the snapshot that Client.save_to_json_file wrote")
    with quiet():
        client = needed("ax.api.client", extra="ax").Client
        try:
            found = client.load_from_json_file(filepath=str(path))
            experiment = found._experiment  # noqa: SLF001 - the client has no other way to its parameters
        except Exception as error:
            text = " ".join(str(error).split())[:200]
            raise CampaignError(
                f"{path}: is no snapshot of ax.api.client.Client ({type(error).__name__}: {text}); write one with "
                "Client.save_to_json_file"
            ) from error
        return study_of_ax(experiment)


def study_of_ax(experiment: Any) -> Study:
    """An Ax experiment in the words of a campaign."""
    config, notes = experiment.optimization_config, []
    if config is None:
        raise CampaignError(f"experiment {experiment.name!r} has no objective; configure its optimization first")
    values = _readings(experiment)
    metrics = list(dict.fromkeys([*_used(config), *(m for found in values.values() for m in found)]))
    names = Names.of([*experiment.search_space.parameters, *metrics])
    parameters, labels = {}, set()
    for name, p in experiment.search_space.parameters.items():
        parameters[names.ours[name]], is_labelled, more = _parameter(name, p)
        labels |= {name} if is_labelled else set()
        notes += more
    goal, more = _goal(config, names)
    measured_there = [m for m in metrics if any(m in found for found in values.values()) or m in _used(config)]
    pasts, n_left = [], 0
    for trial in experiment.trials.values():
        past = _past(trial, names, labels, values)
        pasts += [past] if past is not None else []
        n_left += past is None
    if n_left:
        notes.append(f"{n_left} trials that were candidates, abandoned or of several arms are not carried")
    lost = [
        m
        for m in measured_there
        if m not in _used(config) and any(p.outcome == "read" and names.ours[m] not in p.values for p in pasts)
    ]
    notes += [f"metric {m!r} is not carried: some trials lack it" for m in lost]
    return Study(
        name=campaign_name(experiment.name or "", "ax-experiment"),
        parameters=parameters,
        responses=tuple(names.ours[m] for m in measured_there if m not in lost),
        goal=goal,
        trials=tuple(pasts),
        constraints=tuple(
            _linear(c.constraint_dict, names, c.bound) for c in experiment.search_space.parameter_constraints
        ),
        notes=(*names.changed, *notes, *more),
    )


def _used(config: Any) -> list[str]:
    """The metrics of objective and constraints, in order."""
    constrained = (m for c in config.outcome_constraints if not c.relative for m in c.metric_names)
    return list(dict.fromkeys([*config.objective.metric_names, *constrained]))


def _parameter(name: str, p: Any) -> tuple[dict[str, Any], bool, list[str]]:
    """One parameter, whether its values are carried as texts, and what is lost by it."""
    notes = (
        [f"{name!r} is a fidelity in Ax and a parameter like others here"] if getattr(p, "is_fidelity", False) else []
    )
    kind, type_name = type(p).__name__, p.parameter_type.name
    if kind == "RangeParameter":
        if type_name == "INT":
            notes += (
                [f"the logarithmic scale of {name!r} is not carried: integers have none here"] if p.log_scale else []
            )
            return {"kind": "integer", "low": p.lower, "high": p.upper}, False, notes
        more = {"scale": "log"} if p.log_scale else {}
        step = {"step": p.step_size} if getattr(p, "step_size", None) else {}
        return {"low": float(p.lower), "high": float(p.upper), **more, **step}, False, notes
    if kind == "FixedParameter":
        is_labelled = isinstance(p.value, bool) or p.value is None
        return {"value": str(p.value) if is_labelled else p.value}, is_labelled, notes
    if kind == "ChoiceParameter":
        is_labelled = any(isinstance(v, bool) or v is None for v in p.values)
        values = [str(v) for v in p.values] if is_labelled else list(p.values)
        if len(values) == 1:
            return {"value": values[0]}, is_labelled, notes
        return {"levels" if p.is_ordered and len(values) > 2 else "choices": values}, is_labelled, notes
    raise CampaignError(f"parameter {name!r} is a {kind}, which no campaign can import; leave it out of the experiment")


def _goal(config: Any, names: Names) -> tuple[dict[str, Any], list[str]]:
    goal: dict[str, Any] = {}
    objective, notes = config.objective, []
    weights = list(objective.metric_weights)
    if objective.is_multi_objective:
        if len(objective.expression.split(",")) != len(weights):
            raise CampaignError(
                f"objective {objective.expression!r}: sums within a trade-off are not read; use metrics"
            )
        parts = [[pair] for pair in weights]
    else:
        parts = [weights]
    for part in parts:
        if len(part) == 1:
            ((metric, weight),) = part
            goal.setdefault("maximize" if weight > 0 else "minimize", []).append(names.ours[metric])
        else:
            goal.setdefault("maximize", []).append(_sum(part, names))
    limits = []
    for c in config.outcome_constraints:
        if c.relative:
            notes.append(f"the constraint {c.expression!r} is not carried: it is relative to a status quo")
            continue
        sign = "<=" if c.op.name == "LEQ" else ">="
        limits.append(f"{_sum(c.metric_weights, names)} {sign} {float(c.bound)!r}")
    if limits:
        goal["subject_to"] = limits
    return goal, notes


def _sum(weights: Any, names: Names) -> str:
    pairs = list(weights)
    if len(pairs) == 1 and pairs[0][1] == 1:
        return names.ours[pairs[0][0]]
    return " + ".join(f"{float(w)!r} * {names.ours[n]}" for n, w in pairs)


def _linear(weights: Mapping[str, float], names: Names, bound: float) -> str:
    return f"{_sum(weights.items(), names)} <= {float(bound)!r}"


def _readings(experiment: Any) -> dict[int, dict[str, tuple[float, float | None]]]:
    """Mean and standard error of each metric by trial; of several steps the last."""
    frame = experiment.lookup_data().df
    found: dict[int, dict[str, tuple[float, float | None]]] = {}
    for row in frame.to_dict(orient="records"):
        mean, sem = float(row["mean"]), row.get("sem")
        if math.isfinite(mean):
            sd = None if sem is None or not math.isfinite(float(sem)) else float(sem)
            found.setdefault(int(row["trial_index"]), {})[row["metric_name"]] = (mean, sd)
    return found


def _past(
    trial: Any, names: Names, labels: set[str], values: Mapping[int, Mapping[str, tuple[float, float | None]]]
) -> Past | None:
    if len(trial.arms) != 1 or trial.status.name in ("CANDIDATE", "STAGED", "ABANDONED", "STALE"):
        return None
    parameters = trial.arms[0].parameters
    setting = {names.ours[n]: str(v) if n in labels else v for n, v in parameters.items() if n in names.ours}
    read = values.get(trial.index, {})
    if trial.status.name in ("RUNNING", "DISPATCHED"):
        return Past(trial.index, setting, "running")
    if trial.status.name == "FAILED" or not read:
        reason = getattr(trial, "_status_reason", None) or f"it was {trial.status.name} in Ax"
        return Past(trial.index, setting, "failed", reason=str(reason))
    means = {names.ours[m]: mean for m, (mean, _) in read.items()}
    sds = {names.ours[m]: sd for m, (_, sd) in read.items() if sd is not None}
    return Past(trial.index, setting, "read", means, sds)


def write_ax(study: Study, campaign: Campaign, path: str | Path) -> tuple[str, ...]:
    """Write a study as the snapshot of an Ax client; the notes say what is not carried.

    Raises:
        ClosedLoopError: if the file exists, or if Ax does not take the study.
    """
    if Path(path).exists():
        raise ClosedLoopError(f"{path}: exists already; name another file with --output")
    with quiet():
        try:
            return _written(study, campaign, path)
        except (ClosedLoopError, OSError):
            raise
        except Exception as error:
            text = " ".join(str(error).split())[:200]
            raise ClosedLoopError(f"Ax does not take the campaign: {type(error).__name__}: {text}") from error


def _written(study: Study, campaign: Campaign, path: str | Path) -> tuple[str, ...]:
    api = needed("ax.api.client", extra="ax")
    parameters, notes = _configs(campaign)
    constraints = []
    for text in campaign.constraints:
        same = re.sub(r"(<|>)=?", r"\1=", text)
        try:
            api.Client().configure_experiment(parameters=parameters, parameter_constraints=[same])
            constraints.append(same)
        except Exception:
            notes.append(f"the constraint {text!r} is not carried: Ax holds linear ones over ranges")
    client = api.Client(random_seed=campaign.seed % 2**31)
    client.configure_experiment(name=study.name, parameters=parameters, parameter_constraints=constraints)
    tracked = _optimization(client, campaign, notes)
    known = {p.name for p in parameters}
    lost = 0
    for past in study.trials:
        if not known <= set(past.setting):
            lost += 1
            continue
        index = client.attach_trial({n: past.setting[n] for n in known}, arm_name=f"{past.number}_0")
        if past.outcome == "failed":
            client.mark_trial_failed(index, failed_reason=past.reason)
        elif past.outcome == "read":
            client.complete_trial(index, raw_data=_data(campaign, past, tracked))
    notes += [f"{lost} trials are not carried: a parameter was not active"] if lost else []
    client.save_to_json_file(str(path))
    return (*study.notes, *notes)


def _configs(campaign: Campaign) -> tuple[list[Any], list[str]]:
    configs = needed("ax.api.configs", extra="ax")
    found, notes = [], []
    for name, p in campaign.parameters.items():
        match p:
            case Fixed() | Derived():
                notes.append(f"parameter {name!r} is {p.kind} and is not carried")
            case Continuous():
                scale = "log" if p.scale == "log" else "linear"
                found.append(configs.RangeParameterConfig(name, (p.low, p.high), "float", scaling=scale))
            case Stepped():
                found.append(configs.RangeParameterConfig(name, (p.low, p.high), "float", step_size=p.step))
            case Integer():
                found.append(configs.RangeParameterConfig(name, (round(p.low), round(p.high)), "int"))
            case Ordinal():
                found.append(configs.ChoiceParameterConfig(name, *_choices(p.levels), is_ordered=True))
            case Categorical():
                found.append(configs.ChoiceParameterConfig(name, *_choices(tuple(p.choices)), is_ordered=False))
    return found, notes


def _choices(values: tuple[Any, ...]) -> tuple[list[Any], str]:
    kinds = {type(v) for v in values}
    if kinds == {int}:
        return list(values), "int"
    return (list(map(float, values)), "float") if kinds <= {int, float} else (list(map(str, values)), "str")


def _optimization(client: Any, campaign: Campaign, notes: list[str]) -> set[str]:
    """Objective and constraints; returns the names of all metrics."""
    aims, limits = metrics_of(campaign)
    names = {m.name for m in aims}
    notes += [f"{m.name} stands for an expression of the goal, worked out" for m in aims if not m.is_response]
    texts = []
    for limit, text in zip(limits, campaign.goal.subject_to, strict=True):
        found = SIMPLE.fullmatch(text)
        if found and found[1] in campaign.responses and found[1] not in names:
            texts.append(f"{found[1]} {found[2][0]}= {found[3]}")
        else:
            names.add(limit.name)
            texts.append(f"{limit.name} >= 0")
            notes.append(f"{limit.name} stands for the margin of {text!r}, worked out")
    if aims:
        objective = ", ".join(m.name if m.way == "maximize" else f"-{m.name}" for m in aims)
        client.configure_optimization(objective=objective, outcome_constraints=texts)
    else:
        notes.append(f"a goal to {campaign.goal.words} is not carried: Ax has none such")
    names |= set(campaign.responses)
    client.configure_tracking_metrics(sorted(names))
    return names


def _data(campaign: Campaign, past: Past, tracked: set[str]) -> dict[str, Any]:
    values = {**past.values, **{n: x for n, x in measured(campaign, past).items() if n in tracked}}
    return {n: (x, past.sd[n]) if n in past.sd else x for n, x in values.items()}
