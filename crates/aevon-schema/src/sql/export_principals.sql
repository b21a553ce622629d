-- export_principals: the next principals that have an event at or below the heads ($2) of the partitions
SELECT p.principal_no, p.partition, p.tenant_id, p.principal_id
FROM principals p
WHERE p.principal_no > $1
  AND (
    SELECT e.seq
    FROM events e
    WHERE e.principal_no = p.principal_no
      AND e.partition = p.partition
    ORDER BY e.principal_no, e.seq
    LIMIT 1
  ) <= ($2)[p.partition + 1]
ORDER BY p.principal_no, p.partition
LIMIT $3
