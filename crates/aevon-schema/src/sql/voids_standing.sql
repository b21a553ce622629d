-- voids_standing: which of the events under these identities are voided; see events_standing for the
-- comparison of rows
SELECT e.principal_no, e.seq
FROM unnest($2, $3, $4, $5) AS u (event_id, tenant_id, principal_id, partition)
JOIN principals q
  ON q.tenant_id = u.tenant_id AND q.principal_id = u.principal_id AND q.partition = u.partition
CROSS JOIN LATERAL (
    SELECT n.principal_no, n.seq
    FROM events n
    WHERE n.event_id = u.event_id
      AND (n.principal_no, n.partition) >= ROW (q.principal_no, q.partition)
      AND (n.principal_no, n.partition) <= ROW (q.principal_no, q.partition)
      AND n.partition = ANY ($1)
    LIMIT 1
) e
CROSS JOIN LATERAL (
    SELECT
    FROM voids w
    WHERE w.principal_no = e.principal_no
      AND (w.target_seq, w.partition) >= ROW (e.seq, q.partition)
      AND (w.target_seq, w.partition) <= ROW (e.seq, q.partition)
      AND w.partition = ANY ($1)
    ORDER BY w.target_seq
    LIMIT 1
) w
WHERE q.partition = ANY ($1)
