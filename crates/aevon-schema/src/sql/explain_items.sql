-- explain_items: what came in of a principal behind a place ($4), up to another one ($5), and changed a
-- fold: events of a type ($8) and of a range of valid time that stand at a version ($6), and voids of
-- such events which stood at an earlier one ($7). Only so many ($11) of its events are looked at: how far
-- that is, and how many they were, comes with every row, and by itself where there is none
WITH looked AS MATERIALIZED (
    SELECT q.principal_no, l.upto, l.events
    FROM principals q
    CROSS JOIN LATERAL (
        SELECT coalesce(max(e.seq), $4) AS upto, count(*) AS events
        FROM (
            SELECT n.seq
            FROM events n
            WHERE n.principal_no = q.principal_no
              AND n.seq > $4
              AND n.seq <= $5
              AND n.partition = $1
            ORDER BY n.principal_no, n.seq
            LIMIT $11
        ) e
    ) l
    WHERE q.tenant_id = $2
      AND q.principal_id = $3
      AND q.partition = $1
)
SELECT k.upto, k.events, c.place, c.seq, c.event_id, c.occurred_at, c.ingested_at, c.type,
       c.schema_version, c.data, CASE WHEN $13 THEN c.metadata END
FROM looked k
LEFT JOIN LATERAL (
    SELECT n.seq AS place, t.*
    FROM events n
    -- Comparisons of rows and orders keep the planner from reading every void of the principal for
    -- each event.
    CROSS JOIN LATERAL (
        SELECT n.seq, n.event_id, n.occurred_at, n.ingested_at, n.type, n.schema_version, n.data,
               n.metadata
        WHERE n.type = $8
          AND n.occurred_at >= $9
          AND n.occurred_at < $10
          AND coalesce((
            SELECT w.void_seq
            FROM voids w
            WHERE w.principal_no = n.principal_no
              AND (w.target_seq, w.partition) >= ROW (n.seq, $1)
              AND (w.target_seq, w.partition) <= ROW (n.seq, $1)
              AND w.partition = $1
            ORDER BY w.target_seq
            LIMIT 1
          ) > $6, true)
        UNION ALL
        SELECT g.seq, g.event_id, g.occurred_at, g.ingested_at, g.type, g.schema_version, g.data,
               g.metadata
        FROM (
            SELECT w.target_seq
            FROM voids w
            WHERE n.type = 'aevon.void'
              AND (w.partition, w.void_seq) >= ROW ($1, n.seq)
              AND (w.partition, w.void_seq) <= ROW ($1, n.seq)
              AND w.partition = $1
            ORDER BY w.partition, w.void_seq
            LIMIT 1
        ) v
        CROSS JOIN LATERAL (
            SELECT m.*
            FROM events m
            WHERE v.target_seq <= $7
              AND m.principal_no = n.principal_no
              AND m.seq = v.target_seq
              AND m.partition = $1
              AND m.type = $8
              AND m.occurred_at >= $9
              AND m.occurred_at < $10
            ORDER BY m.principal_no, m.seq
            LIMIT 1
        ) g
    ) t
    WHERE n.principal_no = k.principal_no
      AND n.seq > $4
      AND n.seq <= k.upto
      AND n.partition = $1
    ORDER BY n.principal_no, n.seq
    LIMIT $12
) c ON true
