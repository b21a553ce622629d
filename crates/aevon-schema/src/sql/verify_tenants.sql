-- verify_tenants: a page of the tenants that have principals in a partition, each with its number
-- there, 0 where it has none
SELECT q.tenant_id, coalesce(t.tenant_no, 0)
FROM (
    SELECT p.tenant_id
    FROM principals p
    WHERE p.partition = $1
      AND p.tenant_id > $2
    GROUP BY p.tenant_id
    ORDER BY p.tenant_id
    LIMIT $3
) q
LEFT JOIN tenants t ON t.tenant_id = q.tenant_id AND t.partition = $1
ORDER BY q.tenant_id
