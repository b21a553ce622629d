SELECT p.principal_no AS no, {adds}
FROM principals p
{buckets}
WHERE p.tenant_id = $1
  -- Each dimension that is asked for has one of the labels that are kept.
  AND ($10 = '{}'::jsonb OR NOT EXISTS (
    SELECT FROM jsonb_each($10) k (dimension, labels)
    WHERE NOT k.labels @> coalesce(s.labels -> k.dimension, 'null'::jsonb)
  ))
  -- The licence, by partition.
  AND ($4)[p.partition + 1] IS NOT NULL
GROUP BY p.principal_no
