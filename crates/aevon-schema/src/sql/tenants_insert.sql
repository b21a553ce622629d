-- tenants_insert: numbers for the tenants of these principals that have none in the partition; see
-- tenants_find for the comparisons of rows
INSERT INTO tenants AS t (tenant_id, partition)
SELECT DISTINCT q.tenant_id, p.partition
FROM partitions p
CROSS JOIN unnest($2) AS u (principal_no)
CROSS JOIN LATERAL (
    SELECT n.tenant_id
    FROM principals n
    WHERE (n.principal_no, n.partition) >= ROW (u.principal_no, $1)
      AND (n.principal_no, n.partition) <= ROW (u.principal_no, $1)
      AND n.partition = $1
    ORDER BY n.principal_no, n.partition
    LIMIT 1
) q
LEFT JOIN LATERAL (
    SELECT true AS stands
    FROM tenants o
    WHERE (o.tenant_id, o.partition) >= ROW (q.tenant_id, $1)
      AND (o.tenant_id, o.partition) <= ROW (q.tenant_id, $1)
      AND o.partition = $1
    ORDER BY o.tenant_id, o.partition
    LIMIT 1
) l ON true
WHERE p.partition = $1
  AND l.stands IS NULL
