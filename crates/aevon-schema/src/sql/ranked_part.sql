SELECT n.series_no, n.partition, n.event_count, n.skipped_count, n.value, n.moment, n.latest_at,
       n.latest_seq, n.sketch, n.last_seq, n.last_void_seq, {before} AS before
FROM pre_aggregates n
WHERE n.total_series_no = ANY ($14)
  AND n.grain = {grain}
  AND n.window_start >= ($6)[{place}]
  AND n.window_start < ($7)[{place}]
  AND ($4)[n.partition + 1] IS NOT NULL
  AND ($13 OR n.first_seq <= ($5)[n.partition + 1])
  AND (NOT $13 OR n.event_count + n.skipped_count > 0)
