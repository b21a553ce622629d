-- explain_voids: the events of a principal, of a type and of a range of valid time, that are voided at
-- a version ($4)
SELECT e.seq, e.occurred_at, e.type, e.schema_version, e.data, CASE WHEN $8 THEN e.metadata END
FROM principals q
CROSS JOIN LATERAL (
    SELECT n.target_seq
    FROM voids n
    WHERE n.principal_no = q.principal_no
      AND n.void_seq <= $4
      AND n.partition = $1
      AND n.target_occurred_at >= $5
      AND n.target_occurred_at < $6
    ORDER BY n.principal_no, n.void_seq
) w
CROSS JOIN LATERAL (
    SELECT m.*
    FROM events m
    WHERE m.principal_no = q.principal_no
      AND m.seq = w.target_seq
      AND m.partition = $1
      AND m.type = $7
    ORDER BY m.principal_no, m.seq
    LIMIT 1
) e
WHERE q.tenant_id = $2
  AND q.principal_id = $3
  AND q.partition = $1
