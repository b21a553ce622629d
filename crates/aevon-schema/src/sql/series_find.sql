-- series_find: the numbers of series, each with its place in the question, from 1
SELECT u.place, s.series_no
FROM unnest($2, $3, $4, $5) WITH ORDINALITY
     AS u (principal_no, rule_no, generation, labels_hash, place)
-- OFFSET 0 keeps the planner from reading every series of the partition.
CROSS JOIN LATERAL (
    SELECT n.series_no
    FROM series n
    WHERE n.principal_no = u.principal_no
      AND n.rule_no = u.rule_no
      AND n.generation = u.generation
      AND n.labels_hash = u.labels_hash
      AND n.partition = $1
    OFFSET 0
) s
