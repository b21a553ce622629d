-- tenants_find: the number of the tenant of each of these principals, where it has one
SELECT u.principal_no, t.tenant_no
FROM unnest($2) AS u (principal_no)
-- The comparisons of rows and the orders keep the planner from reading every principal and every tenant
-- of the partition.
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
    WHERE (n.tenant_id, n.partition) >= ROW (q.tenant_id, $1)
      AND (n.tenant_id, n.partition) <= ROW (q.tenant_id, $1)
      AND n.partition = $1
    ORDER BY n.tenant_id, n.partition
    LIMIT 1
) t
