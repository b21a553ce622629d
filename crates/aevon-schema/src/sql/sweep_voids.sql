-- sweep_voids: the voids of a slice, in order, each with the event that it takes out
SELECT w.void_seq, e.seq, e.principal_no, e.occurred_at, e.ingested_at, e.type, e.data,
       e.schema_version,
       CASE WHEN $5 THEN e.metadata END,
       CASE WHEN $6 THEN (
           SELECT q.principal_id
           FROM principals q
           WHERE (q.principal_no, q.partition) >= ROW (e.principal_no, $1)
             AND (q.principal_no, q.partition) <= ROW (e.principal_no, $1)
             AND q.partition = $1
           ORDER BY q.principal_no, q.partition
           LIMIT 1
       ) END
FROM voids w
JOIN LATERAL (
    SELECT n.*
    FROM events n
    WHERE n.partition = $1
      AND n.seq = w.target_seq
      AND n.type = ANY ($4)
    ORDER BY n.partition, n.seq
    LIMIT 1
) e ON true
WHERE w.partition = $1
  AND w.void_seq > $2
  AND w.void_seq <= $3
ORDER BY w.partition, w.void_seq
