-- sweep_refold: the events that stand, at the end of a slice, in minutes that voids have changed, and
-- others between them; found through the spans of their buckets. Those of a day of ingestion are read
-- as one span, as days don't overlap: no event comes twice, however many minutes there are
WITH spans AS MATERIALIZED (
    SELECT u.principal_no, u.epoch, min(b.first_seq) AS first_seq, max(b.last_seq) AS last_seq,
           min(u.window_start) AS first_window, max(u.window_start) AS last_window
    FROM unnest($3, $4, $5, $6) AS u (principal_no, series_no, window_start, epoch)
    -- OFFSET 0 keeps the planner from reading every minute of the partition.
    JOIN LATERAL (
        SELECT k.first_seq, k.last_seq
        FROM pre_aggregates k
        WHERE k.series_no = u.series_no
          AND k.grain = 1
          AND k.window_start = u.window_start
          AND k.epoch = u.epoch
          AND k.partition = $1
        OFFSET 0
    ) b ON true
    GROUP BY u.principal_no, u.epoch
)
SELECT e.seq, e.principal_no, e.occurred_at, e.ingested_at, e.type, e.data, e.schema_version,
       CASE WHEN $8 THEN e.metadata END,
       CASE WHEN $9 THEN (
           SELECT q.principal_id
           FROM principals q
           WHERE (q.principal_no, q.partition) >= ROW (e.principal_no, $1)
             AND (q.principal_no, q.partition) <= ROW (e.principal_no, $1)
             AND q.partition = $1
           ORDER BY q.principal_no, q.partition
           LIMIT 1
       ) END
FROM spans s
CROSS JOIN LATERAL (
    SELECT g.*
    FROM events g
    WHERE g.principal_no = s.principal_no
      AND g.seq >= s.first_seq
      AND g.seq <= least(s.last_seq, $2)
      AND g.partition = $1
      AND g.occurred_at >= s.first_window
      AND g.occurred_at < s.last_window + interval '1 minute'
      AND g.type = ANY ($7)
      -- The comparison of rows and the order keep the planner from reading every void of the
      -- principal for each event.
      AND coalesce((
        SELECT w.void_seq
        FROM voids w
        WHERE w.principal_no = g.principal_no
          AND (w.target_seq, w.partition) >= ROW (g.seq, $1)
          AND (w.target_seq, w.partition) <= ROW (g.seq, $1)
          AND w.partition = $1
        ORDER BY w.target_seq
        LIMIT 1
      ) > $2, true)
    ORDER BY g.principal_no, g.seq
) e
