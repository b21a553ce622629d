-- state_events_of_tenant: state_events of all principals of a tenant
SELECT e.seq, e.occurred_at, e.type, e.schema_version, e.data,
       CASE WHEN $8 THEN e.metadata END, e.principal_id
FROM unnest($4, $5, $6, $7) AS u (first_seq, last_seq, occurred_from, occurred_to)
CROSS JOIN LATERAL (
    SELECT n.seq, n.occurred_at, n.type, n.schema_version, n.data, n.metadata, q.principal_id
    FROM events n
    -- The comparisons of rows and the orders keep the planner from reading every principal and every
    -- void of the partition for each event.
    CROSS JOIN LATERAL (
        SELECT p.tenant_id, p.principal_id
        FROM principals p
        WHERE (p.principal_no, p.partition) >= ROW (n.principal_no, $1)
          AND (p.principal_no, p.partition) <= ROW (n.principal_no, $1)
          AND p.partition = $1
        ORDER BY p.principal_no, p.partition
        LIMIT 1
    ) q
    WHERE n.partition = $1
      AND n.seq >= u.first_seq
      AND n.seq <= u.last_seq
      AND n.occurred_at >= u.occurred_from
      AND n.occurred_at < u.occurred_to
      AND n.type = ANY ($9)
      AND q.tenant_id = $2
      AND coalesce((
        SELECT w.void_seq
        FROM voids w
        WHERE w.principal_no = n.principal_no
          AND (w.target_seq, w.partition) >= ROW (n.seq, $1)
          AND (w.target_seq, w.partition) <= ROW (n.seq, $1)
          AND w.partition = $1
        ORDER BY w.target_seq
        LIMIT 1
      ) > $3, true)
    ORDER BY n.partition, n.seq
) e
