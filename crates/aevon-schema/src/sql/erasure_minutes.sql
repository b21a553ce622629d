-- erasure_minutes: the minutes that a principal has of some rules
SELECT s.rule_no, s.generation, s.labels, b.window_start, b.epoch
FROM series s
-- OFFSET 0 keeps the planner from reading every bucket of the partition.
CROSS JOIN LATERAL (
    SELECT n.window_start, n.epoch
    FROM pre_aggregates n
    WHERE n.series_no = s.series_no
      AND n.grain = 1
      AND n.partition = $1
    OFFSET 0
) b
WHERE s.principal_no = $2
  AND s.rule_no = ANY ($3)
  AND s.partition = $1
