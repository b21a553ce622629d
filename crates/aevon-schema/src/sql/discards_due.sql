-- discards_due: generations that nobody needs any more, begun or not: replaced, given up, or of a
-- version that was retired more than $1 seconds ago (null: never)
SELECT d.rule_no, d.generation, d.partition
FROM (
    SELECT b.rule_no, b.generation, b.partition FROM discards b
    UNION
    SELECT c.rule_no, c.generation, c.partition
    FROM sweep_checkpoints c
    JOIN rules r ON r.rule_no = c.rule_no
    WHERE (c.generation <> r.generation AND c.generation IS DISTINCT FROM r.next_generation)
       OR r.retired_at < now() - make_interval(secs => $1)
) d
ORDER BY d.partition, d.rule_no, d.generation
