-- rebuild_principals: the next principals, and tenants, that have a series of either generation
SELECT DISTINCT s.principal_no,
       $7 OR NOT EXISTS (SELECT FROM tenants t WHERE t.tenant_no = s.principal_no AND t.partition = $1)
FROM (
    SELECT n.principal_no
    FROM series n
    WHERE n.principal_no > $5
      AND n.rule_no = $2
      AND n.generation IN ($3, $4)
      AND n.partition = $1
    ORDER BY n.principal_no, n.rule_no, n.generation, n.labels_hash, n.partition
    LIMIT $6
) s
ORDER BY s.principal_no
