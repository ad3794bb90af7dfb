"""What a ledger's file holds: its tables, triggers and views, as numbered migrations, and its hash chain.

Laws:
    * A migration that was released is never edited; a change is a new one at the end.
    * ``event`` only grows: the file itself refuses UPDATE, DELETE and any ``seq`` but the next.
    * A trial is proposed once and observed once: a unique index holds it. It may fail, be in doubt, be run
      again and be observed late; what may follow what is ``lifecycle``'s, and the view ``trial`` says the same.
    * A row's hash covers the hash before it, so nothing behind the last row can change unseen.
"""

from __future__ import annotations

import hashlib

from ..errors import LedgerError
from .views import LIFE_VIEWS

APPLICATION_ID = 0x636C6F6F  # "cloo": `file closedloop.db` tells it from any other SQLite file
GENESIS = "0" * 64  # the hash before the first event
LETTER_KINDS = frozenset(  # what may be left in the inbox: what people and instruments say, not what the agent decides
    "observed failed approved refused settled quarantined restored paused resumed ending amended".split()
)

_TABLES = (
    """CREATE TABLE event (
        campaign TEXT NOT NULL, seq INTEGER NOT NULL, time TEXT NOT NULL, kind TEXT NOT NULL,
        trial INTEGER, payload TEXT NOT NULL, hash TEXT NOT NULL,
        PRIMARY KEY (campaign, seq)) WITHOUT ROWID""",
    "CREATE UNIQUE INDEX event_proposed ON event (campaign, trial) WHERE kind = 'proposed'",
    "CREATE UNIQUE INDEX event_answered ON event (campaign, trial) WHERE kind IN ('observed', 'failed')",
    """CREATE TABLE lease (
        campaign TEXT PRIMARY KEY, host TEXT NOT NULL, pid INTEGER NOT NULL, born REAL NOT NULL,
        started TEXT NOT NULL, token TEXT NOT NULL, heartbeat TEXT NOT NULL)""",
    """CREATE TABLE inbox (
        id INTEGER PRIMARY KEY AUTOINCREMENT, campaign TEXT NOT NULL, time TEXT NOT NULL,
        trial INTEGER, payload TEXT NOT NULL, taken INTEGER)""",
    "CREATE INDEX inbox_waiting ON inbox (campaign, id) WHERE taken IS NULL",
)

TRIGGERS = (
    """CREATE TRIGGER event_is_dense BEFORE INSERT ON event
        WHEN NEW.seq <> 1 + coalesce((SELECT max(seq) FROM event WHERE campaign = NEW.campaign), 0)
        BEGIN SELECT raise(ABORT, 'an event takes the next seq of its campaign'); END""",
    """CREATE TRIGGER event_is_not_changed BEFORE UPDATE ON event
        BEGIN SELECT raise(ABORT, 'an event is never changed; append a new one'); END""",
    """CREATE TRIGGER event_is_not_removed BEFORE DELETE ON event
        BEGIN SELECT raise(ABORT, 'an event is never removed; append a new one'); END""",
)

_VIEWS = (
    """CREATE VIEW trial AS
        SELECT p.campaign, p.trial AS number,
            p.payload ->> '$.trial.source' AS source,
            p.payload -> '$.trial.setting' AS setting,
            coalesce(a.kind, 'running') AS state,
            p.time AS proposed, a.time AS answered,
            round((julianday(a.time) - julianday(p.time)) * 86400, 3) AS seconds,
            json_patch(p.payload -> '$.trial.cost', coalesce(a.payload -> '$.reading.cost', '{}')) AS cost,
            a.payload -> '$.reading.achieved' AS achieved,
            a.payload ->> '$.cause' AS cause, a.payload ->> '$.message' AS message,
            p.payload ->> '$.by' AS proposed_by, p.seq AS proposed_seq, a.seq AS answered_seq
        FROM event p LEFT JOIN event a
            ON a.campaign = p.campaign AND a.trial = p.trial AND a.kind IN ('observed', 'failed')
        WHERE p.kind = 'proposed'""",
    """CREATE VIEW reading AS
        WITH one AS (
            SELECT o.campaign, o.trial, o.time, o.seq, p.payload ->> '$.trial.source' AS source,
                r.key AS response, r.value AS value,
                (SELECT value FROM json_each(o.payload, '$.reading.sd') WHERE key = r.key) AS sd,
                (SELECT value FROM json_each(p.payload, '$.trial.forecast.mean') WHERE key = r.key)
                    AS forecast_mean,
                (SELECT value FROM json_each(p.payload, '$.trial.forecast.sd') WHERE key = r.key)
                    AS forecast_sd
            FROM event o JOIN json_each(o.payload, '$.reading.values') r
            LEFT JOIN event p ON p.campaign = o.campaign AND p.trial = o.trial AND p.kind = 'proposed'
            WHERE o.kind = 'observed')
        SELECT campaign, trial, source, response, value, sd, forecast_mean, forecast_sd,
            (value - forecast_mean) / nullif(forecast_sd, 0) AS z, time, seq
        FROM one""",
    """CREATE VIEW decision AS
        SELECT campaign, trial, payload ->> '$.trial.source' AS source,
            payload ->> '$.trial.why.text' AS why, payload ->> '$.trial.why.gain' AS gain,
            payload ->> '$.trial.why.cost' AS cost, payload -> '$.trial.why.figures' AS figures,
            json_array_length(payload, '$.trial.alternatives') AS n_alternatives,
            payload -> '$.trial.alternatives' AS alternatives, time, seq
        FROM event WHERE kind = 'proposed'""",
)

_LIFE = (
    "DROP INDEX event_answered",
    "DROP INDEX event_proposed",
    # One index for what three could hold, for each costs every append: a trial's events, one of them its proposal and
    # at most one its reading.
    """CREATE UNIQUE INDEX event_of_trial ON event
        (campaign, trial, CASE kind WHEN 'proposed' THEN -1 WHEN 'observed' THEN 0 ELSE seq END)
        WHERE trial IS NOT NULL""",
    # An instrument has one controller in all campaigns of the file; its token only grows, and outlives the lease.
    """CREATE TABLE fence (
        device TEXT PRIMARY KEY, token INTEGER NOT NULL, campaign TEXT NOT NULL, lease TEXT NOT NULL)""",
    # Where a campaign stood after an event, for `status`; believed only while that event has that hash.
    """CREATE TABLE digest (
        campaign TEXT NOT NULL, seq INTEGER NOT NULL, hash TEXT NOT NULL, n_scored INTEGER NOT NULL,
        sums TEXT NOT NULL, payload TEXT, PRIMARY KEY (campaign, seq)) WITHOUT ROWID""",
)

MIGRATIONS: list[tuple[str, ...]] = [  # number n leads to schema version n
    (*_TABLES, *TRIGGERS, *_VIEWS),
    (*_LIFE, *LIFE_VIEWS),
]


def row_hash(before: str, campaign: str, *, seq: int, time: str, kind: str, payload: str) -> str:
    """The hash of one event; each part goes in with its length, so no two rows read alike."""
    number = str(seq)
    text = (
        f"{len(before)}:{before}{len(campaign)}:{campaign}{len(number)}:{number}"
        f"{len(time)}:{time}{len(kind)}:{kind}{len(payload)}:{payload}"
    )
    return hashlib.sha256(text.encode()).hexdigest()


def check_identity(path: object, *, application_id: int, version: int, n_tables: int) -> None:
    """Refuse a file that is no ledger.

    Raises:
        LedgerError: if it is another program's SQLite file.
    """
    is_ours = application_id == APPLICATION_ID
    if not is_ours and (n_tables or application_id or version):
        raise LedgerError(
            f"{path} is a SQLite file of another program (application id {application_id:#x}, a ledger has "
            f"{APPLICATION_ID:#x}); name another file with --ledger"
        )


def check_version(path: object, version: int) -> None:
    """Refuse to write to a file that newer code made.

    Raises:
        LedgerError: if the file's schema is newer than this code.
    """
    if version > len(MIGRATIONS):
        raise LedgerError(
            f"{path} has ledger schema {version}, this closedloop knows up to {len(MIGRATIONS)} and will not "
            "write to it; install a newer closedloop (reading still works)"
        )
