-- state_buckets: the buckets of a plan
SELECT r.rule_no, b.window_start, b.value, b.event_count, b.skipped_count
FROM principals q
CROSS JOIN rules r
JOIN series s
  ON s.principal_no = q.principal_no
 AND s.rule_no = r.rule_no
 AND s.generation = r.generation
 AND s.labels_hash = ''
 AND s.partition = $1
CROSS JOIN unnest($6, $7, $8) AS u (grain, window_from, window_to)
-- OFFSET 0 keeps the planner from reading every window of the series.
JOIN LATERAL (
    SELECT n.window_start, n.value, n.event_count, n.skipped_count
    FROM pre_aggregates n
    WHERE n.series_no = s.series_no
      AND n.grain = u.grain
      AND n.window_start >= u.window_from
      AND n.window_start < u.window_to
      AND n.partition = $1
    OFFSET 0
) b ON true
WHERE q.tenant_id = $9
  AND q.principal_id = $10
  AND q.partition = $1
  AND r.rule_no IN (
    SELECT a.rule_no FROM answering_rules a WHERE $2 OR a.name = ANY ($3)
    UNION
    SELECT v.rule_no FROM rules v JOIN unnest($4, $5) AS w (name, version)
      ON v.name = w.name AND v.version = w.version
  )
