-- ranked_buckets_of_time: of many principals at once: those of the range, whosever they are, where they
-- lie together; a place without a part is planned away, as this is planned for each question
JOIN series s
  ON s.principal_no = p.principal_no
 AND s.rule_no = $2
 AND s.generation = (SELECT r.generation FROM rules r WHERE r.rule_no = $2)
 AND s.labels_hash >= $8
 AND s.labels_hash <= $9
JOIN (
    SELECT n.series_no, n.event_count, n.skipped_count, n.value, n.moment, n.latest_at,
           n.latest_seq, n.sketch, n.first_seq, n.last_seq, n.last_void_seq, false AS before
    FROM pre_aggregates n
    WHERE n.grain = 1440 AND n.window_start >= ($6)[1] AND n.window_start < ($7)[1]
    UNION ALL
    SELECT n.series_no, n.event_count, n.skipped_count, n.value, n.moment, n.latest_at,
           n.latest_seq, n.sketch, n.first_seq, n.last_seq, n.last_void_seq, false AS before
    FROM pre_aggregates n
    WHERE n.grain = 60 AND n.window_start >= ($6)[2] AND n.window_start < ($7)[2]
    UNION ALL
    SELECT n.series_no, n.event_count, n.skipped_count, n.value, n.moment, n.latest_at,
           n.latest_seq, n.sketch, n.first_seq, n.last_seq, n.last_void_seq, false AS before
    FROM pre_aggregates n
    WHERE n.grain = 60 AND n.window_start >= ($6)[3] AND n.window_start < ($7)[3]
    UNION ALL
    SELECT n.series_no, n.event_count, n.skipped_count, n.value, n.moment, n.latest_at,
           n.latest_seq, n.sketch, n.first_seq, n.last_seq, n.last_void_seq, false AS before
    FROM pre_aggregates n
    WHERE n.grain = 1 AND n.window_start >= ($6)[4] AND n.window_start < ($7)[4]
    UNION ALL
    SELECT n.series_no, n.event_count, n.skipped_count, n.value, n.moment, n.latest_at,
           n.latest_seq, n.sketch, n.first_seq, n.last_seq, n.last_void_seq, false AS before
    FROM pre_aggregates n
    WHERE n.grain = 1 AND n.window_start >= ($6)[5] AND n.window_start < ($7)[5]
    UNION ALL
    SELECT n.series_no, n.event_count, n.skipped_count, n.value, n.moment, n.latest_at,
           n.latest_seq, n.sketch, n.first_seq, n.last_seq, n.last_void_seq, true AS before
    FROM pre_aggregates n
    WHERE n.grain = 1440 AND n.window_start >= ($6)[6] AND n.window_start < ($7)[6]
    UNION ALL
    SELECT n.series_no, n.event_count, n.skipped_count, n.value, n.moment, n.latest_at,
           n.latest_seq, n.sketch, n.first_seq, n.last_seq, n.last_void_seq, true AS before
    FROM pre_aggregates n
    WHERE n.grain = 60 AND n.window_start >= ($6)[7] AND n.window_start < ($7)[7]
    UNION ALL
    SELECT n.series_no, n.event_count, n.skipped_count, n.value, n.moment, n.latest_at,
           n.latest_seq, n.sketch, n.first_seq, n.last_seq, n.last_void_seq, true AS before
    FROM pre_aggregates n
    WHERE n.grain = 1 AND n.window_start >= ($6)[8] AND n.window_start < ($7)[8]
) b ON b.series_no = s.series_no
