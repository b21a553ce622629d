-- erasure_events: a page of a principal's events, in the order of the log, with the position of the void
-- of each
SELECT e.seq, e.occurred_at, e.ingested_at, e.type, e.schema_version, e.data, e.metadata, (
           SELECT w.void_seq
           FROM voids w
           WHERE w.principal_no = e.principal_no
             AND (w.target_seq, w.partition) >= ROW (e.seq, $1)
             AND (w.target_seq, w.partition) <= ROW (e.seq, $1)
             AND w.partition = $1
           ORDER BY w.target_seq
           LIMIT 1
       )
FROM events e
WHERE e.principal_no = $2
  AND e.seq > $3
  AND e.seq <= $4
  AND e.type = ANY ($5)
  AND e.partition = $1
ORDER BY e.principal_no, e.seq
LIMIT $6
