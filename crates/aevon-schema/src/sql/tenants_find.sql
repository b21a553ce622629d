-- tenants_find: the number of the tenant of each of these principals, where it has one
SELECT u.principal_no, t.tenant_no
FROM unnest($2) AS u (principal_no)
-- The comparison of rows and the order, and OFFSET 0, keep the planner from reading every principal
-- and every tenant of the partition.
CROSS JOIN LATERAL (
    SELECT p.tenant_id
    FROM principals p
    WHERE (p.principal_no, p.partition) >= ROW (u.principal_no, $1)
      AND (p.principal_no, p.partition) <= ROW (u.principal_no, $1)
      AND p.partition = $1
    ORDER BY p.principal_no, p.partition
    LIMIT 1
) q
CROSS JOIN LATERAL (
    SELECT n.tenant_no
    FROM tenants n
    WHERE n.tenant_id = q.tenant_id
      AND n.partition = $1
    OFFSET 0
) t
