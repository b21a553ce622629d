SELECT n.series_no, n.partition, n.event_count, n.skipped_count, n.value, n.moment, n.latest_at,
       n.latest_seq, n.sketch, {before} AS before,
       $13 OR (n.last_seq <= ($5)[n.partition + 1]
               AND coalesce(n.last_void_seq, 0) <= ($5)[n.partition + 1]) AS stands
FROM pre_aggregates n
WHERE n.total_series_no = ANY ({totals})
  AND n.grain = {grain}
  AND n.window_start >= ($6)[{place}]
  AND n.window_start < ($7)[{place}]
  AND ($4)[n.partition + 1] IS NOT NULL
  AND ($13 OR n.first_seq <= ($5)[n.partition + 1])
  AND (NOT $13 OR n.event_count + n.skipped_count > 0)
