-- events_standing: what stands under the identities of a group
-- The comparison of rows can only be served by the unique index: without statistics, equality of
-- the principal would do for the planner to read everything that the principal ever did.
SELECT e.principal_no, e.event_id, e.partition, e.seq, e.ingested_at,
       e.type, e.occurred_at, e.schema_version, e.data, e.metadata
FROM unnest($2, $3, $4) AS u (event_id, principal_no, partition)
CROSS JOIN LATERAL (
    SELECT n.*
    FROM events n
    WHERE n.event_id = u.event_id
      AND (n.principal_no, n.partition) >= ROW (u.principal_no, u.partition)
      AND (n.principal_no, n.partition) <= ROW (u.principal_no, u.partition)
      AND n.partition = ANY ($1)
    LIMIT 1
) e
