-- events_standing_named: what stands under the identities of principals whose numbers the caller
-- does not know; see events_standing
SELECT e.principal_no, e.event_id, e.partition, e.seq, e.ingested_at,
       e.type, e.occurred_at, e.schema_version, e.data, e.metadata
FROM unnest($2, $3, $4, $5) AS u (event_id, tenant_id, principal_id, partition)
JOIN principals q
  ON q.tenant_id = u.tenant_id AND q.principal_id = u.principal_id AND q.partition = u.partition
CROSS JOIN LATERAL (
    SELECT n.*
    FROM events n
    WHERE n.event_id = u.event_id
      AND (n.principal_no, n.partition) >= ROW (q.principal_no, q.partition)
      AND (n.principal_no, n.partition) <= ROW (q.principal_no, q.partition)
      AND n.partition = ANY ($1)
    LIMIT 1
) e
WHERE q.partition = ANY ($1)
