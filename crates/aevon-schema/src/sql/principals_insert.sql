-- principals_insert: numbers for principals that have none; the caller holds their partitions' locks
INSERT INTO principals AS q (tenant_id, principal_id, partition)
SELECT u.tenant_id, u.principal_id, p.partition
FROM partitions p
JOIN unnest($2, $3, $4) AS u (tenant_id, principal_id, partition) ON u.partition = p.partition
WHERE p.partition = ANY ($1)
RETURNING q.tenant_id, q.principal_id, q.principal_no
