"""Studies of Optuna: from any of its storages to a study of ours, and back."""

from __future__ import annotations

import math
from datetime import datetime
from pathlib import Path
from typing import Any

from ..campaign import Campaign
from ..errors import CampaignError, ClosedLoopError
from ..parameters import Categorical, Continuous, Derived, Fixed, Integer, Ordinal, Stepped
from .names import Names, campaign_name
from .needs import needed, quiet
from .portable import Past, Study, measured, metrics_of

OLD_CONSTRAINTS = "constraints"  # of the trial's system attributes: a list, each <= 0 where it is kept


def read_optuna(url: str, study: str | None = None) -> Study:
    """A study in an Optuna storage.

    Args:
        url: such as ``sqlite:///lab.db``.
        study: its name; the only one if absent.

    Raises:
        CampaignError: if the storage or the study is not there, or has nothing that a campaign could be made of.
    """
    with quiet():
        return study_of_optuna(_loaded(url, study))


def _loaded(url: str, study: str | None) -> Any:
    optuna = needed("optuna", extra="optuna")
    file = url.removeprefix("sqlite:///")
    if (file != url or "://" not in url) and not Path(file).is_file():  # Optuna would make it
        raise CampaignError(f"{url}: there is no file {file!r}; correct the URL, such as sqlite:///study.db")
    url = url if "://" in url else f"sqlite:///{url}"
    try:
        names = optuna.study.get_all_study_names(url)
    except Exception as error:
        raise CampaignError(
            f"{url}: is no Optuna storage that can be read ({type(error).__name__}: {error})"
        ) from error
    if study is None and len(names) == 1:
        study = names[0]
    if study not in names:
        known = ", ".join(map(repr, names)) or "none"
        what = "name a study with --study" if study is None else f"there is no study {study!r}"
        raise CampaignError(f"{url}: {what}; there: {known}")
    return optuna.load_study(study_name=study, storage=url)


def study_of_optuna(found: Any) -> Study:
    """An Optuna study in the words of a campaign."""
    trials, notes = list(found.get_trials(deepcopy=False)), []
    declared = _union(trials)
    metrics = _metric_names(found)
    limits = list(dict.fromkeys(name for t in trials for name in _constraints(t)))
    names = Names.of([*declared, *metrics, *(f"constraint_{k}" for k in limits)])
    labels: dict[str, bool] = {}
    parameters = {}
    for name, distributions in declared.items():
        labels[name] = _is_labelled(distributions)
        parameters[names.ours[name]], more = _parameter(name, distributions, is_labelled=labels[name])
        notes += [more] if more else []
    goal: dict[str, Any] = {}
    for metric, direction in zip(metrics, found.directions, strict=True):
        key = "maximize" if direction.name == "MAXIMIZE" else "minimize"
        goal.setdefault(key, []).append(names.ours[metric])
    ours = {k: names.ours[f"constraint_{k}"] for k in limits}
    if limits:
        goal["subject_to"] = [f"{ours[k]} <= 0" for k in limits]
    pasts = []
    n_odd = n_waiting = 0
    for t in trials:
        if t.state.name == "WAITING":
            n_waiting += 1
            continue
        if set(t.params) != set(declared):
            n_odd += 1
            continue
        setting = {names.ours[n]: str(x) if labels[n] else x for n, x in t.params.items()}
        pasts.append(_past(t, setting, metrics, names, ours))
    notes += [f"{n_waiting} trials that were enqueued and not begun are not carried"] if n_waiting else []
    if n_odd:
        notes.append(f"{n_odd} trials in which a parameter was not suggested are not carried: it was conditional")
    if not pasts:
        raise CampaignError(f"study {found.study_name!r} has no trial with all its parameters, so nothing to import")
    return Study(
        name=campaign_name(found.study_name, "optuna-study"),
        parameters=parameters,
        responses=(*(names.ours[m] for m in metrics), *ours.values()),
        goal=goal,
        trials=tuple(pasts),
        notes=(*names.changed, *notes),
    )


def _metric_names(found: Any) -> list[str]:
    n = len(found.directions)
    return list(found.metric_names or (["value"] if n == 1 else [f"value_{k}" for k in range(n)]))


def _union(trials: list[Any]) -> dict[str, list[Any]]:
    """Each parameter's distributions, in the order in which they were first suggested."""
    declared: dict[str, list[Any]] = {}
    for t in trials:
        for name, distribution in t.distributions.items():
            known = declared.setdefault(name, [])
            if distribution not in known:
                known.append(distribution)
    return declared


def _is_labelled(distributions: list[Any]) -> bool:
    """Whether texts stand for the choices: for None, for truth values, and for numbers beside texts like them."""
    choices = [c for d in distributions for c in getattr(d, "choices", ())]
    plain = all(isinstance(c, int | float | str) and not isinstance(c, bool) for c in choices)
    return not plain or len({str(c) for c in choices}) < len(set(choices))


def _parameter(name: str, distributions: list[Any], *, is_labelled: bool) -> tuple[dict[str, Any], str]:
    """One parameter over all that it was suggested from, and what is lost by it."""
    kind = type(distributions[0]).__name__
    if any(type(d).__name__ != kind for d in distributions):
        raise CampaignError(f"parameter {name!r} was suggested as different kinds; import a study in which it is one")
    if kind == "CategoricalDistribution":
        choices = list(dict.fromkeys(c for d in distributions for c in d.choices))
        shown = list(dict.fromkeys(map(str, choices))) if is_labelled else choices
        return ({"choices": shown} if len(shown) > 1 else {"value": shown[0]}), ""
    low, high = min(d.low for d in distributions), max(d.high for d in distributions)
    note = f"{name!r} was suggested from several ranges: it has the widest of all" if len(distributions) > 1 else ""
    if low == high:
        return {"value": low}, note
    step = distributions[0].step
    if kind == "IntDistribution":
        if step not in (None, 1):
            return {"low": low, "high": high, "step": step}, note
        if distributions[0].log:
            note = f"the logarithmic scale of {name!r} is not carried: integers have none here"
        return {"kind": "integer", "low": low, "high": high}, note
    if step is not None:
        return {"low": low, "high": high, "step": step}, note
    return {"low": low, "high": high, **({"scale": "log"} if distributions[0].log else {})}, note


def _constraints(t: Any) -> dict[str, float]:
    """Each constraint's value, kept where it is <= 0."""
    if hasattr(t, "constraints"):
        return dict(t.constraints)
    return {str(k): float(x) for k, x in enumerate(t.system_attrs.get(OLD_CONSTRAINTS) or ())}


def _past(t: Any, setting: dict[str, Any], metrics: list[str], names: Names, ours: dict[str, str]) -> Past:
    if t.state.name == "RUNNING":
        return Past(t.number, setting, "running")
    if t.state.name != "COMPLETE" or not all(math.isfinite(x) for x in t.values or ()):
        return Past(t.number, setting, "failed", reason=f"it was {t.state.name} in Optuna")
    values = {names.ours[m]: float(x) for m, x in zip(metrics, t.values, strict=True)}
    return Past(t.number, setting, "read", values | {ours[k]: float(x) for k, x in _constraints(t).items()})


def write_optuna(study: Study, campaign: Campaign, url: str, name: str | None = None) -> tuple[str, ...]:
    """Write a study into an Optuna storage, as a new study there; the notes say what is not carried.

    Raises:
        ClosedLoopError: if the goal has no objective, or if the study is there already.
    """
    with quiet():
        return _written(study, campaign, url, name)


def _written(study: Study, campaign: Campaign, url: str, name: str | None) -> tuple[str, ...]:
    optuna = needed("optuna", extra="optuna")
    aims, limits = metrics_of(campaign)
    if not aims:
        raise ClosedLoopError(f"a goal to {campaign.goal.words} has no objective, and an Optuna study must have one")
    distributions, notes = _distributions(optuna, campaign)
    name = name or study.name
    directions = [m.way for m in aims]
    try:
        made = optuna.create_study(study_name=name, storage=url, directions=directions)
    except optuna.exceptions.DuplicatedStudyError as error:
        raise ClosedLoopError(f"{url}: has a study {name!r} already; name another file, or another --study") from error
    except Exception as error:
        raise ClosedLoopError(f"{url}: cannot be written ({type(error).__name__}: {error})") from error
    made.set_metric_names([m.name for m in aims])
    notes += [f"{m.name} stands for an expression of the goal, worked out" for m in aims if not m.is_response]
    notes += ["input constraints are not carried: Optuna has none"] if campaign.constraints else []
    lost = 0
    for past in study.trials:
        if not set(distributions) <= set(past.setting):
            lost += 1
            continue
        try:
            made.add_trial(
                _frozen(optuna, campaign, past, distributions, [m.name for m in aims], [m.name for m in limits])
            )
        except (ArithmeticError, ValueError):
            lost += 1
    if lost:
        text = f"{lost} trials are not carried: the goal has no value there, or their setting is not in the space"
        notes.append(text)
    return (*study.notes, *notes)


def _distributions(optuna: Any, campaign: Campaign) -> tuple[dict[str, Any], list[str]]:
    d, found, notes = optuna.distributions, {}, []
    for name, p in campaign.parameters.items():
        match p:
            case Fixed() | Derived():
                notes.append(f"parameter {name!r} is {p.kind}: it stands among the trials' user attributes")
            case Continuous():
                found[name] = d.FloatDistribution(p.low, p.high, log=p.scale == "log")
            case Stepped():
                found[name] = d.FloatDistribution(p.low, p.high, step=p.step)
            case Integer():
                found[name] = d.IntDistribution(round(p.low), round(p.high))
            case Ordinal():
                notes.append(f"the order of {name!r} is not carried: its levels are choices")
                found[name] = d.CategoricalDistribution(p.levels)
            case Categorical():
                found[name] = d.CategoricalDistribution(tuple(p.choices))
    return found, notes


def _frozen(
    optuna: Any, campaign: Campaign, past: Past, distributions: dict[str, Any], aims: list[str], limits: list[str]
) -> Any:
    state = {"read": "COMPLETE", "failed": "FAIL", "running": "RUNNING"}[past.outcome]
    attrs: dict[str, Any] = {"closedloop_trial": past.number}
    others = {n: v for n, v in past.setting.items() if n not in distributions}
    attrs |= {"fixed": others} if others else {}
    attrs |= {"reason": past.reason} if past.reason else {}
    more: dict[str, Any] = {}
    if past.outcome == "read":
        found = measured(campaign, past)
        attrs |= {"responses": dict(past.values), **({"sd": dict(past.sd)} if past.sd else {})}
        more["values"] = [found[m] for m in aims]
        more["system_attrs"] = {OLD_CONSTRAINTS: [-found[m] for m in limits]} if limits else {}
    made = optuna.trial.create_trial(
        state=optuna.trial.TrialState[state],
        params={n: past.setting[n] for n in distributions},
        distributions=distributions,
        user_attrs=attrs,
        **more,
    )
    if made.datetime_start is None:
        made.datetime_start = datetime.now()
    return made
