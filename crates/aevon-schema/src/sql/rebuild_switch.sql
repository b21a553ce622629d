-- rebuild_switch: the generation that was built answers, unless it is behind anywhere
UPDATE rules AS r
SET generation = r.next_generation, next_generation = NULL
WHERE r.rule_no = $1
  AND r.generation = $2
  AND r.next_generation = $3
  AND NOT EXISTS (
    SELECT FROM sweep_checkpoints live
    LEFT JOIN sweep_checkpoints built
           ON built.rule_no = live.rule_no
          AND built.generation = $3
          AND built.partition = live.partition
    WHERE live.rule_no = $1
      AND live.generation = $2
      AND live.seq > coalesce(built.seq, 0)
  )
