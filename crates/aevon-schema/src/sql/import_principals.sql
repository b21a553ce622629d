-- import_principals: principals with the numbers that they have
INSERT INTO principals AS q (principal_no, partition, tenant_id, principal_id)
SELECT u.principal_no, p.partition, u.tenant_id, u.principal_id
FROM partitions p
JOIN unnest($2, $3, $4, $5) AS u (principal_no, partition, tenant_id, principal_id)
  ON u.partition = p.partition
WHERE p.partition = ANY ($1)
