-- preview_events: the events of a principal that a rule reads, in the order of the log
SELECT e.seq, e.occurred_at, e.schema_version, e.data, CASE WHEN $7 THEN e.metadata END
FROM principals q
JOIN LATERAL (
    SELECT n.principal_no, n.seq, n.occurred_at, n.schema_version, n.data, n.metadata
    FROM events n
    WHERE n.principal_no = q.principal_no
      AND n.partition = $1
      AND n.type = $4
      AND n.occurred_at >= $5
      AND n.occurred_at < $6
      AND NOT EXISTS (
        SELECT FROM voids w
        WHERE w.principal_no = n.principal_no AND w.target_seq = n.seq AND w.partition = $1
      )
    ORDER BY n.principal_no, n.seq
) e ON true
WHERE q.tenant_id = $2
  AND q.principal_id = $3
  AND q.partition = $1
