-- principals_list: the next principals of a tenant within a range of names
SELECT p.principal_id
FROM principals p
WHERE p.tenant_id = $1
  AND p.principal_id > $2
  AND p.principal_id >= $3
  AND ($4::text IS NULL OR p.principal_id < $4)
ORDER BY p.tenant_id, p.principal_id
LIMIT $5
