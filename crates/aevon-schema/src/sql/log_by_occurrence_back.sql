-- log_by_occurrence_back: log_by_occurrence, the last first
SELECT e.partition, e.seq, q.principal_id, e.event_id, e.type, e.occurred_at, e.ingested_at,
       e.schema_version, e.data, e.metadata, v.void_seq
FROM principals q
CROSS JOIN LATERAL (
    SELECT n.*
    FROM events n
    WHERE n.principal_no = q.principal_no
      AND n.partition = $1
      AND n.seq <= $4
      AND n.occurred_at >= $5
      AND n.occurred_at < $6
      AND (cardinality($7) = 0 OR n.type = ANY ($7))
      AND (n.occurred_at, n.seq) < ($8, $9)
    ORDER BY n.occurred_at DESC, n.seq DESC
    LIMIT $10
) e
LEFT JOIN voids v
       ON v.principal_no = e.principal_no AND v.target_seq = e.seq AND v.partition = $1
      AND v.void_seq <= $4
WHERE q.tenant_id = $2
  AND q.principal_id = $3
  AND q.partition = $1
