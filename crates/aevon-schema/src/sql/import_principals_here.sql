-- import_principals_here: the next principals, whoever wrote them
SELECT p.principal_no, p.partition, p.tenant_id, p.principal_id
FROM principals p
WHERE (p.principal_no, p.partition) > ROW ($1, $2)
ORDER BY p.principal_no, p.partition
LIMIT $3
