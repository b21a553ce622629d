SELECT n.series_no, n.event_count, n.skipped_count,
       CASE WHEN NOT {before} THEN n.value END AS value,
       CASE WHEN NOT {before} THEN n.moment END AS moment,
       CASE WHEN {before} THEN n.value END AS value_before,
       n.latest_at, n.latest_seq, n.sketch, n.last_seq, n.last_void_seq
FROM pre_aggregates n
WHERE n.total_series_no = ANY (ARRAY(
    SELECT s.series_no
    FROM tenants t
    JOIN series s ON s.principal_no = t.tenant_no AND s.partition = t.partition
    WHERE t.tenant_id = $1
      AND s.rule_no = $2
      AND s.generation = (SELECT r.generation FROM rules r WHERE r.rule_no = $2)
      AND s.labels_hash >= $8
      AND s.labels_hash <= $9
  ))
  AND n.grain = {grain}
  AND n.window_start >= ($6)[{place}]
  AND n.window_start < ($7)[{place}]
  AND ($13 OR n.first_seq <= ($5)[n.partition + 1])
  AND (NOT $13 OR n.event_count + n.skipped_count > 0)
