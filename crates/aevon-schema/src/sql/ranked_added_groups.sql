SELECT s.principal_no AS no, {merges}
FROM series s
JOIN ({parts}) b ON b.no = s.series_no
WHERE s.rule_no = $2
  AND s.generation = (SELECT r.generation FROM rules r WHERE r.rule_no = $2)
  AND s.labels_hash >= $8
  AND s.labels_hash <= $9
  -- Each dimension that is asked for has one of the labels that are kept.
  AND ($10 = '{}'::jsonb OR NOT EXISTS (
    SELECT FROM jsonb_each($10) k (dimension, labels)
    WHERE NOT k.labels @> coalesce(s.labels -> k.dimension, 'null'::jsonb)
  ))
GROUP BY s.principal_no
