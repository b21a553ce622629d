-- ranked_totals: the series of a tenant's totals by a rule
SELECT s.series_no
FROM tenants t
CROSS JOIN LATERAL (
    SELECT n.series_no
    FROM series n
    WHERE n.principal_no = t.tenant_no
      AND n.rule_no = $2
      AND n.generation = (SELECT r.generation FROM rules r WHERE r.rule_no = $2)
      AND n.labels_hash >= $3
      AND n.labels_hash <= $4
      AND n.partition = t.partition
    -- Keeps the planner from reading every series there is.
    OFFSET 0
) s
WHERE t.tenant_id = $1
