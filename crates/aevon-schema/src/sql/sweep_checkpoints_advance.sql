-- sweep_checkpoints_advance: only from where the slice began
UPDATE sweep_checkpoints AS c
SET seq = $3, swept_at = clock_timestamp(), sweep_seconds = $6
FROM unnest($4, $5) AS u (rule_no, generation)
WHERE c.partition = $1
  AND c.seq = $2
  AND c.rule_no = u.rule_no
  AND c.generation = u.generation
