-- verify_events: the events of principals up to a checkpoint, each principal's in the order in which
-- they occurred. Postgres sorts them, on disk where they are many
DECLARE verify_events NO SCROLL CURSOR FOR
SELECT e.seq, e.principal_no, e.occurred_at, e.ingested_at, e.type, e.schema_version, e.data,
       CASE WHEN $5 THEN e.metadata END, v.void_seq, NULL::text
FROM events e
LEFT JOIN voids v
       ON v.principal_no = e.principal_no AND v.target_seq = e.seq AND v.partition = $1
WHERE e.principal_no = ANY ($2)
  AND e.seq <= $3
  AND e.type = ANY ($4)
  AND e.partition = $1
ORDER BY e.principal_no, e.occurred_at, e.seq
