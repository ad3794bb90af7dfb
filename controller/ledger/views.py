"""The views of schema 2, for people with a SQL shell: trials in all their states, and their readings.

Laws:
    * A trial's state is what ``lifecycle`` makes of its events; a test holds the two together.
    * Each event is found by an index that is named: SQLite left to itself scans the campaign once a trial.
    * Released views are never edited: a later migration drops them and makes its own.
"""

from __future__ import annotations

_X = "event x INDEXED BY event_of_trial"
_FREED = "(x.kind = 'approved' OR x.kind = 'settled' AND x.payload ->> '$.outcome' IN ('rerun', 'not_started'))"
_ANSWERS = "('observed', 'failed', 'refused')"
_OF_P = "x.campaign = p.campaign AND x.trial = p.trial"
_OF_O = "x.campaign = o.campaign AND x.trial = o.trial"
_SET_ASIDE = f"""(SELECT x.kind FROM {_X} WHERE {_OF_O} AND x.kind IN ('quarantined', 'restored')
    ORDER BY x.seq DESC LIMIT 1) IS 'quarantined'"""

_TRIAL = f"""CREATE VIEW trial AS
    WITH place AS (
        SELECT p.campaign, p.trial, p.seq,
            (SELECT max(x.seq) FROM {_X} WHERE {_OF_P}) AS last,
            (SELECT max(x.seq) FROM {_X} WHERE {_OF_P} AND x.kind IN {_ANSWERS}) AS answer,
            (SELECT max(x.seq) FROM {_X} WHERE {_OF_P} AND x.kind = 'observed') AS reading,
            (SELECT max(x.seq) FROM {_X} WHERE {_OF_P} AND x.kind = 'approved') AS approval,
            (SELECT max(x.seq) FROM {_X} WHERE {_OF_P} AND {_FREED}) AS freed,
            (SELECT count(*) FROM {_X} WHERE {_OF_P} AND x.kind = 'settled'
                AND x.payload ->> '$.outcome' IN ('rerun', 'not_started')) AS n_again
        FROM event p INDEXED BY event_of_trial WHERE p.kind = 'proposed' AND p.trial IS NOT NULL),
    told AS (
        SELECT k.*, p.time AS proposed, p.payload AS proposal, v.payload AS approved, a.kind AS answer_kind,
            a.time AS answer_time, a.payload AS answer_payload, o.payload AS observed,
            CASE l.kind
                WHEN 'proposed' THEN iif(coalesce(l.payload ->> '$.asks', '') = '', 'approved', 'proposed')
                WHEN 'refused' THEN 'cancelled'
                WHEN 'failed' THEN CASE
                    WHEN l.payload ->> '$.is_in_doubt' THEN 'unknown'
                    WHEN l.payload ->> '$.cause' IN ('cancelled', 'invalid') THEN l.payload ->> '$.cause'
                    ELSE 'failed' END
                WHEN 'settled' THEN CASE l.payload ->> '$.outcome'
                    WHEN 'abandoned' THEN 'failed'
                    WHEN 'rerun' THEN 'approved' WHEN 'not_started' THEN 'approved'
                    ELSE 'unknown' END
                WHEN 'observed' THEN iif(EXISTS (
                    SELECT 1 FROM {_X} WHERE x.campaign = k.campaign AND x.trial = k.trial
                        AND x.kind IN ('failed', 'refused') AND x.seq > coalesce(k.freed, 0)), 'late', 'observed')
                WHEN 'quarantined' THEN 'invalid'
                WHEN 'restored' THEN 'observed'
                ELSE l.kind END AS state
        FROM place k
        JOIN event p ON p.campaign = k.campaign AND p.seq = k.seq
        JOIN event l ON l.campaign = k.campaign AND l.seq = k.last
        LEFT JOIN event a ON a.campaign = k.campaign AND a.seq = k.answer
        LEFT JOIN event o ON o.campaign = k.campaign AND o.seq = k.reading
        LEFT JOIN event v ON v.campaign = k.campaign AND v.seq = k.approval)
    SELECT campaign, trial AS number,
        proposal ->> '$.trial.source' AS source,
        json_patch(proposal -> '$.trial.setting', coalesce(approved -> '$.setting', '{{}}')) AS setting,
        state, proposed,
        iif(state IN ('proposed', 'approved', 'acting', 'unknown'), NULL, answer_time) AS answered,
        iif(state IN ('proposed', 'approved', 'acting', 'unknown'), NULL,
            round((julianday(answer_time) - julianday(proposed)) * 86400, 3)) AS seconds,
        CASE WHEN answer_kind = 'refused' THEN '{{}}'
            WHEN answer_kind = 'failed' AND answer_payload ->> '$.cost' IS NOT NULL THEN answer_payload -> '$.cost'
            ELSE json_patch(proposal -> '$.trial.cost', coalesce(observed -> '$.reading.cost', '{{}}')) END AS cost,
        observed -> '$.reading.achieved' AS achieved,
        iif(answer_kind = 'refused', 'cancelled', answer_payload ->> '$.cause') AS cause,
        coalesce(answer_payload ->> '$.message', answer_payload ->> '$.reason') AS message,
        proposal ->> '$.by' AS proposed_by, seq AS proposed_seq, answer AS answered_seq,
        1 + n_again AS attempt, coalesce(proposal ->> '$.asks', '') AS asks,
        approved ->> '$.by' AS approved_by
    FROM told"""

_TOLD = """iif(v.payload -> '$.setting' <> '{}',
    coalesce(v.payload ->> '$.forecast', p.payload -> '$.trial.forecast'), p.payload -> '$.trial.forecast')"""
_READING = f"""CREATE VIEW reading AS
    WITH one AS (
        SELECT o.campaign, o.trial, o.time, o.seq, p.payload ->> '$.trial.source' AS source,
            r.key AS response, r.value AS value,
            (SELECT value FROM json_each(o.payload, '$.reading.sd') WHERE key = r.key) AS sd,
            (SELECT value FROM json_each({_TOLD}, '$.mean') WHERE key = r.key) AS forecast_mean,
            (SELECT value FROM json_each({_TOLD}, '$.sd') WHERE key = r.key) AS forecast_sd,
            {_SET_ASIDE} AS is_set_aside
        FROM event o INDEXED BY event_of_trial JOIN json_each(o.payload, '$.reading.values') r
        LEFT JOIN event p INDEXED BY event_of_trial
            ON p.campaign = o.campaign AND p.trial = o.trial AND p.kind = 'proposed'
        LEFT JOIN event v INDEXED BY event_of_trial
            ON v.campaign = o.campaign AND v.trial = o.trial AND v.kind = 'approved'
        WHERE o.kind = 'observed' AND o.trial IS NOT NULL)
    SELECT campaign, trial, source, response, value, sd, forecast_mean, forecast_sd,
        (value - forecast_mean) / nullif(forecast_sd, 0) AS z, time, seq, is_set_aside
    FROM one"""

LIFE_VIEWS = ("DROP VIEW trial", _TRIAL, "DROP VIEW reading", _READING)
