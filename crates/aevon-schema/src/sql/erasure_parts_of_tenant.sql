-- erasure_parts_of_tenant: the minutes of principals that minutes of their tenant, of one series, are made
-- of, each with the place of the other in the question, from 1
SELECT u.place, b.event_count, b.skipped_count, b.first_seq, b.last_seq, b.last_void_seq,
       b.value, b.latest_at, b.latest_seq, b.moment, b.sketch
FROM (
    SELECT p.principal_no
    FROM principals p
    WHERE p.tenant_id = $2
      AND p.partition = $1
    OFFSET 0
) q
-- OFFSET 0, here and below, keeps the planner from reading all of the partition.
CROSS JOIN LATERAL (
    SELECT n.series_no
    FROM series n
    WHERE n.principal_no = q.principal_no
      AND n.rule_no = $3
      AND n.generation = $4
      AND n.labels_hash = $5
      AND n.partition = $1
    OFFSET 0
) s
CROSS JOIN unnest($6, $7) WITH ORDINALITY AS u (window_start, epoch, place)
CROSS JOIN LATERAL (
    SELECT n.event_count, n.skipped_count, n.first_seq, n.last_seq, n.last_void_seq,
           n.value, n.latest_at, n.latest_seq, n.moment, n.sketch
    FROM pre_aggregates n
    WHERE n.series_no = s.series_no
      AND n.grain = 1
      AND n.window_start = u.window_start
      AND n.epoch = u.epoch
      AND n.partition = $1
    OFFSET 0
) b
