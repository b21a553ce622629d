-- log_find: one event, by its identity
SELECT e.partition, e.seq, q.principal_id, e.event_id, e.type, e.occurred_at, e.ingested_at,
       e.schema_version, e.data, e.metadata, v.void_seq
FROM principals q
JOIN events e
  ON e.event_id = $4
 AND e.principal_no = q.principal_no
 AND e.partition = $1
LEFT JOIN voids v
       ON v.principal_no = e.principal_no AND v.target_seq = e.seq AND v.partition = $1
WHERE q.tenant_id = $2
  AND q.principal_id = $3
  AND q.partition = $1
