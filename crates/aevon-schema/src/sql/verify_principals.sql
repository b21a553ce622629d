-- verify_principals: a page of the principals of a partition, by tenant and principal
SELECT q.principal_no, q.tenant_id, q.principal_id
FROM principals q
WHERE q.partition = $1
  AND (q.tenant_id, q.principal_id) > ROW ($2, $3)
ORDER BY q.tenant_id, q.principal_id, q.partition
LIMIT $4
