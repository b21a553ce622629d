-- log_feed: the events of a tenant between two positions of each partition, as they came in; the
-- first so many
SELECT f.partition, f.seq, f.principal_id, f.event_id, f.type, f.occurred_at, f.ingested_at,
       f.schema_version, f.data, f.metadata, NULL::bigint
FROM unnest($2, $3, $4) AS u (partition, after, upto)
CROSS JOIN LATERAL (
    SELECT e.partition, e.seq, q.principal_id, e.event_id, e.type, e.occurred_at, e.ingested_at,
           e.schema_version, e.data, e.metadata
    FROM events e
    -- The comparison of rows and the order keep the planner from reading every principal of the
    -- partition for each event.
    CROSS JOIN LATERAL (
        SELECT p.principal_id, p.tenant_id
        FROM principals p
        WHERE (p.principal_no, p.partition) >= ROW (e.principal_no, u.partition)
          AND (p.principal_no, p.partition) <= ROW (e.principal_no, u.partition)
        ORDER BY p.principal_no, p.partition
        LIMIT 1
    ) q
    WHERE e.partition = u.partition
      AND e.seq > u.after
      AND e.seq <= u.upto
      AND (cardinality($5) = 0 OR e.type = ANY ($5))
      AND q.tenant_id = $1
    ORDER BY e.partition, e.seq
    LIMIT $6
) f
ORDER BY f.ingested_at, f.partition, f.seq
LIMIT $6
