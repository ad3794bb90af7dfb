"""The JSON Schema of a campaign file, made friendly: what each key means, and the short forms that are read too."""

from __future__ import annotations

from typing import Any

KEYS = {
    "name": "What the ledger calls the campaign: letters, digits, dot, dash and underscore.",
    "description": "For people.",
    "seed": "Of all random choices; the same ledger then leads to the same decisions.",
    "parameters": "What may be set, by name: {low, high, unit}, with step or scale: log; choices; levels; or value.",
    "constraints": "What settings must keep: 'a + 3 * b <= 150', 'a + b == 1' or {predicate: 'module:name'}.",
    "mixtures": "Components that add up to a total, by name: {of: [a, b, c], total, max_components, min_share}.",
    "candidates": "The only settings that may be proposed: a CSV file beside this one, or a list of settings.",
    "predicates": "Functions of a setting that say whether it is allowed: 'module:name' or './file.py:name'.",
    "responses": "What is measured, by name: {unit}; or a plain list of names.",
    "sources": "Who can answer a trial, by name; the goal is to be reached at the first instrument.",
    "goal": "What is wanted: maximize, minimize and target (with value or range), several of them for a trade-off; or "
    "learn, map or prefer. subject_to: outcome constraints; thresholds: of a trade-off; risk: under noisy settings.",
    "budget": "What may be spent in all: trials, time (seconds or '2 hours'), money, or any resource of a cost.",
    "belief": "How forecasts are made; left out, it is chosen from what the sources offer.",
    "method": "What you settle of the strategy: {acquisition, trust_region, n_candidates, n_starts, ...}; see advise.",
    "stop": "Rules to stop by beside the budget, joined by & and |: 'target_reached(60) | converged(15)'.",
    "designer": "A gest-api generator of somebody else's that names the target's settings: {generator, settings}.",
    "warm_start": "Earlier campaigns to learn from, by a name for each: {ledger, campaign, given}.",
    "n_initial": "Space-filling measurements before the belief decides.",
    "n_members": "Members of the ensemble of a simulator's unknowns.",
    "guard": "Limits and interlocks that hold beside every device: rules, or the name of a rule file beside this one.",
}
SOURCE_KEYS = {
    "instrument": "Its driver: 'package.module:Class', './file.py:Class', or the name of an entry point.",
    "simulator": "Its model, named as a driver is.",
    "settings": "Arguments of the class; {env: NAME} stands for the value of an environment variable.",
    "cost": "Of one trial, by resource; the class's own if left out.",
    "replicas": "How many copies of a simulator run at once.",
    "timeout": "Of one trial: seconds or '5 min'.",
    "resources": "What Ray reserves for it, such as {CPU: 1}.",
    "start": "A stand-in process of the driver's that is started with the run, such as 'bench'.",
    "unknowns": "Priors of what the simulator does not know: {normal: [mean, sd]} or {lognormal: [median, log sd]}.",
    "repeatable": "Whether a trial may be carried out twice; the class's own word if left out.",
    "on_unknown": "What becomes of a trial in doubt of which the driver knows nothing: ask, abandon or rerun.",
    "on_failure": "Retries, and what a failure means: infeasible (learned as a constraint) or missing.",
    "approval": "When a person must approve a trial before it begins; left out: never.",
    "guard": "Its own limits and interlocks in place of the campaign's: rules, or the name of a rule file.",
    "needs_make_safe": "false: the device is safe whatever happens, and needs no guard.",
}
RULE_KEYS = {
    "limits": "Lowest and highest value that may be commanded, by parameter: [low, high].",
    "max_step": "Largest change from one command to the next, by parameter.",
    "max_rate": "Largest change per second between two commands, by parameter.",
    "forbidden": "No setting where one of these comparisons holds, such as 'temperature > 80'.",
    "interlocks": "Live readings that are watched: {trip: 'pressure >= 6', every_s: 1, resume_after_s: 10}.",
    "safe_setting": "Where the device is sent to be safe, if its driver can.",
    "deadman_s": "The controller's longest silence in seconds before the device is made safe.",
}


def campaign_schema() -> dict[str, Any]:
    """The schema of what a campaign file may say."""
    from ..campaign import Campaign

    schema = Campaign.model_json_schema()
    _describe(schema["properties"], KEYS)
    source = schema["$defs"]["SourceSpec"]["properties"]
    _describe(source, SOURCE_KEYS)
    _describe(schema["$defs"]["GuardRules"]["properties"], RULE_KEYS)
    _or_a_file(schema["properties"])
    _or_a_file(source)
    # From low and high alone a parameter is continuous: an integer says so.
    schema["$defs"]["Integer"]["required"].append("kind")
    schema["$defs"].get("Ordinal", {}).get("properties", {}).pop("n_columns", None)  # is worked out
    _short_forms(schema)
    responses = schema["properties"]["responses"]
    names = {"type": "array", "items": {"type": "string"}, "minItems": 1, "uniqueItems": True}
    may_be_empty = {
        **responses,
        "additionalProperties": {"anyOf": [responses["additionalProperties"], {"type": "null"}]},
    }
    described = {k: may_be_empty.pop(k) for k in ("title", "description") if k in may_be_empty}
    schema["properties"]["responses"] = {**described, "anyOf": [may_be_empty, names]}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "closedloop campaign",
        "description": "A campaign of closedloop: what may be set, what is measured, who answers, what is wanted.",
    }


def _short_forms(schema: dict[str, Any]) -> None:
    """What a space may be written like besides what it is kept as."""
    kinds, text = schema["$defs"], {"type": "string"}
    for kind in ("Fixed", "Derived"):
        kinds[kind]["properties"].pop("n_columns", None)
    number_rows = {"type": "object", "additionalProperties": {"type": "object"}, "minProperties": 2}
    choices = kinds["Categorical"]
    choices["properties"]["choices"] = {"anyOf": [choices["properties"]["choices"], number_rows]}
    choices["properties"]["descriptors"] = {"anyOf": [choices["properties"]["descriptors"], text]}
    choices["required"] = []
    choices["anyOf"] = [{"required": ["choices"]}, {"required": ["descriptors"]}]
    for name in ("Continuous", "Ordinal", "Categorical"):
        when = kinds[name]["properties"]["when"]
        kinds[name]["properties"]["when"] = {"anyOf": [when, {"type": "object"}]}
    context = {"type": "string", "const": "context"}
    kind = kinds["Continuous"]["properties"]["kind"]
    kinds["Continuous"]["properties"]["kind"] = {"anyOf": [{**kind}, context]}
    for name in ("Stepped", "Integer"):
        kinds[name]["properties"]["when"] = {"anyOf": [kinds[name]["properties"]["when"], {"type": "object"}]}
    properties = schema["properties"]
    predicate = {"type": "object", "properties": {"predicate": text}, "required": ["predicate"]}
    one = {"anyOf": [text, predicate]}
    described = {k: v for k, v in properties["constraints"].items() if k in ("title", "description", "default")}
    properties["constraints"] = {**described, "anyOf": [one, {"type": "array", "items": one}]}
    described = {k: v for k, v in properties["candidates"].items() if k in ("title", "description", "default")}
    lists = [{"type": "array", "items": {"type": "object"}, "minItems": 1}, {"type": "object"}]
    properties["candidates"] = {**described, "anyOf": [text, *lists, {"type": "null"}]}
    schema["required"] = [key for key in schema["required"] if key != "parameters"]  # a table may stand for them
    schema["anyOf"] = [{"required": ["parameters"]}, {"required": ["candidates"]}]


def _or_a_file(properties: dict[str, Any]) -> None:
    """``guard`` may be the name of a rule file."""
    described = {k: v for k, v in properties["guard"].items() if k in ("title", "description", "default")}
    rules = {k: v for k, v in properties["guard"].items() if k not in described}
    properties["guard"] = {**described, "anyOf": [*(rules.get("anyOf") or [rules]), {"type": "string"}]}


def _describe(properties: dict[str, Any], texts: dict[str, str]) -> None:
    for key, text in texts.items():
        if key in properties:
            properties[key]["description"] = text
