-- discards_series: the next series of a generation that is being deleted
SELECT s.principal_no, s.series_no
FROM discards d
CROSS JOIN LATERAL (
    SELECT n.principal_no, n.series_no
    FROM series n
    WHERE n.principal_no >= d.principal_no
      AND n.rule_no = $1
      AND n.generation = $2
      AND n.partition = $3
    ORDER BY n.principal_no, n.rule_no, n.generation, n.labels_hash, n.partition
    LIMIT $4
) s
WHERE d.rule_no = $1 AND d.generation = $2 AND d.partition = $3
