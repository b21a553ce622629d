-- state_events: the events of a principal between places of the log that stand at a version ($4)
SELECT e.seq, e.occurred_at, e.type, e.schema_version, e.data,
       CASE WHEN $9 THEN e.metadata END, e.ingested_at
FROM principals q
CROSS JOIN unnest($5, $6, $7, $8) AS u (first_seq, last_seq, occurred_from, occurred_to)
CROSS JOIN LATERAL (
    SELECT n.*
    FROM events n
    WHERE n.principal_no = q.principal_no
      AND n.seq >= u.first_seq
      AND n.seq <= u.last_seq
      AND n.partition = $1
      AND n.occurred_at >= u.occurred_from
      AND n.occurred_at < u.occurred_to
      AND n.type = ANY ($10)
      -- The comparison of rows and the order keep the planner from reading every void of the
      -- principal for each event.
      AND coalesce((
        SELECT w.void_seq
        FROM voids w
        WHERE w.principal_no = n.principal_no
          AND (w.target_seq, w.partition) >= ROW (n.seq, $1)
          AND (w.target_seq, w.partition) <= ROW (n.seq, $1)
          AND w.partition = $1
        ORDER BY w.target_seq
        LIMIT 1
      ) > $4, true)
    ORDER BY n.principal_no, n.seq
) e
WHERE q.tenant_id = $2
  AND q.principal_id = $3
  AND q.partition = $1
