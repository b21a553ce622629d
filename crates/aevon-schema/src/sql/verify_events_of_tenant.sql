-- verify_events_of_tenant: the events of all principals of a tenant ($6) up to a checkpoint, as its own
-- ($2), in the order in which they occurred
DECLARE verify_events NO SCROLL CURSOR FOR
SELECT e.seq, $2, e.occurred_at, e.ingested_at, e.type, e.schema_version, e.data,
       CASE WHEN $5 THEN e.metadata END, v.void_seq, q.principal_id
FROM principals q
JOIN events e ON e.principal_no = q.principal_no AND e.partition = $1
LEFT JOIN voids v
       ON v.principal_no = e.principal_no AND v.target_seq = e.seq AND v.partition = $1
WHERE q.tenant_id = $6
  AND q.partition = $1
  AND e.seq <= $3
  AND e.type = ANY ($4)
ORDER BY e.occurred_at, e.seq
