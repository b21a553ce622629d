-- series_insert: series that a slice touches for the first time
INSERT INTO series AS s (principal_no, rule_no, generation, partition, labels_hash, labels)
SELECT u.principal_no, u.rule_no, u.generation, p.partition, u.labels_hash, u.labels
FROM partitions p
CROSS JOIN unnest($2, $3, $4, $5, $6) AS u (principal_no, rule_no, generation, labels_hash, labels)
-- OFFSET 0 keeps the planner from comparing with every series of the partition.
LEFT JOIN LATERAL (
    SELECT true AS stands
    FROM series o
    WHERE o.principal_no = u.principal_no
      AND o.rule_no = u.rule_no
      AND o.generation = u.generation
      AND o.labels_hash = u.labels_hash
      AND o.partition = $1
    OFFSET 0
) l ON true
WHERE p.partition = $1
  AND l.stands IS NULL
