-- principals_find: the numbers of principals
SELECT q.tenant_id, q.principal_id, q.principal_no
FROM unnest($2, $3, $4) AS u (tenant_id, principal_id, partition)
JOIN principals q
  ON q.tenant_id = u.tenant_id AND q.principal_id = u.principal_id AND q.partition = u.partition
WHERE q.partition = ANY ($1)
