-- ranked_buckets_of_series: of few principals: those of each of their series, looked up one by one, so
-- that what others have costs nothing; OFFSET 0 keeps the planner from reading all of the partition
CROSS JOIN LATERAL (
    SELECT n.series_no, n.labels
    FROM series n
    WHERE n.principal_no = p.principal_no
      AND n.rule_no = $2
      AND n.generation = (SELECT r.generation FROM rules r WHERE r.rule_no = $2)
      AND n.labels_hash >= $8
      AND n.labels_hash <= $9
      AND n.partition = p.partition
    OFFSET 0
) s
CROSS JOIN unnest(
    ARRAY[1440, 60, 60, 1, 1, 1440, 60, 1], $6, $7,
    ARRAY[false, false, false, false, false, true, true, true]
) AS u (grain, window_from, window_to, before)
CROSS JOIN LATERAL (
    SELECT n.partition, n.event_count, n.skipped_count, n.value, n.moment, n.latest_at, n.latest_seq,
           n.sketch, u.before,
           $13 OR (n.last_seq <= ($5)[n.partition + 1]
                   AND coalesce(n.last_void_seq, 0) <= ($5)[n.partition + 1]) AS stands
    FROM pre_aggregates n
    WHERE n.series_no = s.series_no
      AND n.grain = u.grain
      AND n.window_start >= u.window_from
      AND n.window_start < u.window_to
      AND n.partition = p.partition
      AND ($13 OR n.first_seq <= ($5)[n.partition + 1])
      AND (NOT $13 OR n.event_count + n.skipped_count > 0)
    OFFSET 0
) b
