-- pre_aggregates_parts_of_tenants: the minutes of principals that minutes of their tenants are made
-- of, each with the place of the other in the question, from 1
SELECT u.place, b.value, b.latest_at, b.latest_seq, b.moment, b.sketch
FROM unnest($2, $3, $4, $5, $6, $7) WITH ORDINALITY
     AS u (tenant_no, rule_no, generation, labels_hash, window_start, epoch, place)
-- OFFSET 0, here and below, keeps the planner from reading all of the partition.
CROSS JOIN LATERAL (
    SELECT o.tenant_id
    FROM tenants o
    WHERE o.tenant_no = u.tenant_no
      AND o.partition = $1
    OFFSET 0
) t
CROSS JOIN LATERAL (
    SELECT p.principal_no
    FROM principals p
    WHERE p.tenant_id = t.tenant_id
      AND p.partition = $1
    OFFSET 0
) q
CROSS JOIN LATERAL (
    SELECT n.series_no
    FROM series n
    WHERE n.principal_no = q.principal_no
      AND n.rule_no = u.rule_no
      AND n.generation = u.generation
      AND n.labels_hash = u.labels_hash
      AND n.partition = $1
    OFFSET 0
) s
CROSS JOIN LATERAL (
    SELECT n.value, n.latest_at, n.latest_seq, n.moment, n.sketch
    FROM pre_aggregates n
    WHERE n.series_no = s.series_no
      AND n.grain = 1
      AND n.window_start = u.window_start
      AND n.epoch = u.epoch
      AND n.partition = $1
    OFFSET 0
) b
