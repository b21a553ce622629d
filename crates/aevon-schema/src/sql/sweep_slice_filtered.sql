-- sweep_slice_filtered: sweep_slice with what filters read of events
-- The comparison of rows and the order keep the planner from reading every principal of the
-- partition for each event.
SELECT e.seq, e.principal_no, e.occurred_at, e.ingested_at, e.type, e.data, e.schema_version,
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
FROM events e
WHERE e.partition = $1
  AND e.seq > $2
  AND e.seq <= $3
  AND e.type = ANY ($4)
ORDER BY e.partition, e.seq
