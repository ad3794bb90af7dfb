"""``export``: one row a trial, as CSV, JSON or Parquet."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import ClosedLoopError
from ..report.story import Story, TrialStory, read_story
from ..report.words import UNSEEN
from . import options
from .application import LOOK, app
from .carry import Tool, write_study
from .terminal import complain, json_text, write_text

Row = dict[str, Any]
# A cell that begins so is carried out by a spreadsheet, after blanks and in the wide letters of East Asia too.
FORMULA = re.compile(r"[\s\u200b\ufeff]*[=+\-@\uff1d\uff0b\uff0d\uff20\t\r\n]")
NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
QUOTED = re.compile(r"[^A-Za-z0-9_.+-]")  # whatever might part cells somewhere: , ; | a tab, a quotation mark
_CONTROL = re.compile(rf"[\x00-\x08\x0b-\x1f{UNSEEN}]")


class Format(StrEnum):
    """What can be written."""

    CSV = "csv"
    JSON = "json"
    PARQUET = "parquet"


@app.command(rich_help_panel=LOOK, epilog="Example: closedloop export --format csv --output trials.csv")
def export(
    *,
    ledger: options.Ledger = options.LEDGER,
    campaign: options.InLedger = None,
    form: Annotated[
        Format | None,
        typer.Option("--format", "-f", help="As the file's name ends, else csv.", show_default=False),
    ] = None,
    output: options.Output = None,
    capsule: Annotated[
        Path | None,
        typer.Option("--capsule", help="Write the whole campaign as one RO-Crate, FILE.zip.", show_default=False),
    ] = None,
    as_: Annotated[
        Tool | None,
        typer.Option("--as", help="Write it as a study of another optimiser: a JSON snapshot of Ax, or Optuna's."),
    ] = None,
    storage: Annotated[
        str | None,
        typer.Option("--storage", help="With --as optuna: the URL, in place of --output.", show_default=False),
    ] = None,
    study: Annotated[
        str | None,
        typer.Option("--study", help="With --as optuna: the name there, if it is another.", show_default=False),
    ] = None,
) -> None:
    """Write one row a trial: settings, readings, forecasts, z, costs and times; on stdout without --output.

    With --capsule: one zip file with the ledger, declaration, report and environment, for 'closedloop verify FILE.zip'.
    """
    if as_:
        if form or capsule:
            raise ClosedLoopError("--as: writes one study and nothing else; leave --format and --capsule out")
        write_study(ledger, campaign, as_, output=output, storage=storage, study=study)
        return
    if storage or study:
        raise ClosedLoopError("--storage and --study: belong to --as optuna; add that")
    if capsule:
        if form or output:
            raise ClosedLoopError("--capsule: writes one zip file and nothing else; leave --format and --output out")
        write_campaign(ledger, campaign, capsule)
        return
    form = form or _form_of(output)
    rows = rows_of(read_story(ledger, campaign))
    if form is Format.PARQUET:
        if output is None:
            raise ClosedLoopError("--format parquet: is no text for a terminal; name a file with --output")
        _write_parquet(rows, output)
        return
    text = csv_of(rows) if form is Format.CSV else json_text(rows) + "\n"
    if output is None:
        print(text, end="")
        return
    write_text(output, text)
    complain(f"{len(rows)} trials in {output}", word="wrote")


def write_campaign(ledger: Path, campaign: str | None, to: Path) -> None:
    """Write a capsule."""
    from ..capsule import write_capsule

    warnings.simplefilter("ignore")
    path = write_capsule(ledger, campaign, to)
    complain(f"{path} ({path.stat().st_size / 1024:.0f} kB); check it anywhere with 'closedloop verify'", word="wrote")


def rows_of(story: Story) -> list[Row]:
    """One flat row a trial; every row has every column."""
    rows = [_row(story, t) for t in story.trials.values()]
    return [{c: row.get(c) for c in _columns(story)} for row in rows]


def csv_of(rows: list[Row]) -> str:
    """The rows as CSV; text that a spreadsheet would carry out is made harmless by an apostrophe."""
    lines = [list(rows[0]), *(list(row.values()) for row in rows)] if rows else []
    return "".join(",".join(map(_field, cells)) + "\n" for cells in lines)


def _field(value: Any) -> str:
    """One cell; quoted wherever it might fall apart, also where a semicolon or a tab parts the cells."""
    text = "" if value is None else harmless(value) if isinstance(value, str) else str(value)
    return '"{}"'.format(text.replace('"', '""')) if QUOTED.search(text) or value == "" else text


def harmless(text: str) -> str:
    """Text that no spreadsheet carries out and no terminal obeys; numbers stay as they are."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n")
    visible = _CONTROL.sub("\N{REPLACEMENT CHARACTER}", lines)
    return f"'{visible}" if FORMULA.match(text) and not NUMBER.fullmatch(text) else visible


def _form_of(output: Path | None) -> Format:
    suffix = output.suffix.lower().lstrip(".") if output else ""
    return next((f for f in Format if f.value == suffix), Format.CSV)


def _columns(story: Story) -> list[str]:
    declared = story.declared
    parts = ("", ".sd", ".forecast", ".forecast_sd", ".z")
    resources = dict.fromkeys([*declared.budget, *(r for s in declared.sources.values() for r in s.cost)])
    return [
        *("trial", "source", "kind", "status", "by"),
        *declared.parameters,
        *(f"{p}.achieved" for p in declared.parameters),
        *(f"{r}{part}" for r in declared.responses for part in parts),
        *("objective", "feasible"),
        *(f"cost.{r}" for r in resources),
        *("proposed", "answered", "cause", "message", "why"),
    ]


def _row(story: Story, t: TrialStory) -> Row:
    return {
        "trial": t.number,
        "source": t.trial.source,
        "kind": story.declared.sources[t.trial.source].kind,
        "status": t.status,
        "by": t.by,
        **t.trial.setting,
        **{f"{p}.achieved": v for p, v in (t.reading.achieved if t.reading else {}).items()},
        **_responses(story, t),
        **{f"cost.{r}": x for r, x in t.cost.items()},
        "proposed": t.proposed.isoformat() if t.proposed else None,
        "answered": t.answered.isoformat() if t.answered else None,
        "cause": t.failure.cause if t.failure else None,
        "message": t.failure.message if t.failure else None,
        "why": t.trial.why.text,
    }


def _responses(story: Story, t: TrialStory) -> Row:
    row: Row = {}
    for r in story.declared.responses:
        scored = t.scored(r)
        row[f"{r}.forecast"] = t.trial.forecast.mean.get(r)
        row[f"{r}.forecast_sd"] = t.trial.forecast.sd.get(r)
        row[f"{r}.z"] = scored.z if scored else None
        if t.reading:
            row[r], row[f"{r}.sd"] = t.reading.values.get(r), t.reading.sd.get(r)
    if t.reading:
        row["objective"] = story.objective(t.reading.values)
        row["feasible"] = story.is_feasible(t.reading.values)
    return row


def _write_parquet(rows: list[Row], output: Path) -> None:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise ClosedLoopError(
            "--format parquet: needs pyarrow, which is not installed; pip install closedloop[parquet]"
        ) from None
    names = list(rows[0]) if rows else ["trial"]
    columns = {name: _column(row.get(name) for row in rows) for name in names}
    try:
        pq.write_table(pa.table(columns), output)
    except OSError as error:
        raise ClosedLoopError(f"{output} cannot be written ({error}); name another file with --output") from error
    complain(f"{len(rows)} trials in {output}", word="wrote")


def _column(values: Iterable[Any]) -> list[Any]:
    """Of one type: levels that mix numbers and labels become text, whole numbers beside others floats."""
    cells = list(values)
    types = {type(v) for v in cells if v is not None}
    if len(types) < 2:
        return cells
    return [v if v is None else float(v) if types == {int, float} else str(v) for v in cells]
