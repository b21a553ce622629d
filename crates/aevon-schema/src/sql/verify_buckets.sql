-- verify_buckets: the rows that stand in windows of principals; amounts as texts, so that one that is
-- none can be named
SELECT s.principal_no, s.rule_no, s.labels, s.labels_hash, b.grain, b.window_start, b.epoch,
       b.operator, b.event_count, b.skipped_count, ARRAY[b.first_seq, b.last_seq, b.last_void_seq],
       b.value::text, b.latest_at, b.latest_seq, b.moment::text, b.sketch
FROM unnest($2, $3, $4, $5) AS u (principal_no, grain, window_from, window_to)
CROSS JOIN unnest($6, $7) AS v (rule_no, generation)
JOIN series s
  ON s.principal_no = u.principal_no
 AND s.rule_no = v.rule_no
 AND s.generation = v.generation
 AND s.partition = $1
-- OFFSET 0 keeps the planner from reading every bucket of the partition.
JOIN LATERAL (
    SELECT n.grain, n.window_start, n.epoch, n.operator, n.event_count, n.skipped_count,
           n.first_seq, n.last_seq, n.value, n.latest_at, n.latest_seq, n.moment, n.sketch,
           n.last_void_seq
    FROM pre_aggregates n
    WHERE n.series_no = s.series_no
      AND n.grain = u.grain
      AND n.window_start >= u.window_from
      AND n.window_start < u.window_to
      AND n.partition = $1
    OFFSET 0
) b ON true
