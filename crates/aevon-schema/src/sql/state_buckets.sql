-- state_buckets: the buckets of a plan, of the ungrouped series or of the groups that are kept
SELECT r.rule_no, s.labels, b.window_start, b.event_count, b.skipped_count, b.value,
       b.latest_at, b.latest_seq, b.moment, b.sketch
FROM principals q
CROSS JOIN rules r
JOIN series s
  ON s.principal_no = q.principal_no
 AND s.rule_no = r.rule_no
 AND s.generation = r.generation
 AND s.labels_hash >= $12
 AND s.labels_hash <= $13
 AND s.partition = $1
CROSS JOIN unnest($6, $7, $8, $9) AS u (grain, window_from, window_to, before)
-- OFFSET 0 keeps the planner from reading every window of the series.
JOIN LATERAL (
    SELECT n.window_start, n.event_count, n.skipped_count, n.value,
           n.latest_at, n.latest_seq, n.moment, n.sketch
    FROM pre_aggregates n
    WHERE n.series_no = s.series_no
      AND n.grain = u.grain
      AND n.window_start >= u.window_from
      AND n.window_start < u.window_to
      AND n.partition = $1
    OFFSET 0
) b ON true
WHERE q.tenant_id = $10
  AND q.principal_id = $11
  AND q.partition = $1
  AND (NOT u.before OR r.definition ->> 'operator' = ANY ($15))
  -- Each dimension that is asked for has one of the labels that are kept.
  AND ($14 = '{}'::jsonb OR NOT EXISTS (
    SELECT FROM jsonb_each($14) k (dimension, labels)
    WHERE NOT k.labels @> coalesce(s.labels -> k.dimension, 'null'::jsonb)
  ))
  AND r.rule_no IN (
    SELECT a.rule_no FROM answering_rules a WHERE $2 OR a.name = ANY ($3)
    UNION
    SELECT v.rule_no FROM rules v JOIN unnest($4, $5) AS w (name, version)
      ON v.name = w.name AND v.version = w.version
  )
