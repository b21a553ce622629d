-- principals_list_at: the next principals of a tenant that have an event at or below positions ($4) of
-- the partitions
SELECT p.principal_id
FROM principals p
WHERE p.tenant_id = $1
  AND p.principal_id > $2
  AND (
    SELECT e.seq
    FROM events e
    WHERE e.principal_no = p.principal_no
      AND e.partition = p.partition
    ORDER BY e.principal_no, e.seq
    LIMIT 1
  ) <= ($4)[p.partition + 1]
ORDER BY p.tenant_id, p.principal_id
LIMIT $3
