-- sweep_checkpoints_advance: only from where the slice began; totals of tenants, and what buckets say of
-- them, where they were complete
UPDATE sweep_checkpoints AS c
SET seq = $3, totals_seq = CASE WHEN c.totals_seq = c.seq THEN $3 END,
    links_seq = CASE WHEN c.links_seq = c.seq THEN $3 END,
    swept_at = clock_timestamp(), sweep_seconds = $6
FROM unnest($4, $5) AS u (rule_no, generation)
WHERE c.partition = $1
  AND c.seq = $2
  AND c.rule_no = u.rule_no
  AND c.generation = u.generation
