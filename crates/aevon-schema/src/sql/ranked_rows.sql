-- ranked_rows: the buckets of each principal of a tenant by a rule whose buckets Postgres can not add up,
-- as of positions ($5) of the partitions, which may be the newest ($13), principal by principal; see
-- ranked_sums
WITH voided AS MATERIALIZED (
    SELECT DISTINCT v.principal_no
    FROM unnest($4, $5) WITH ORDINALITY AS u (checkpoint, seq, place)
    CROSS JOIN LATERAL (
        SELECT n.principal_no
        FROM voids n
        WHERE n.partition = u.place - 1
          AND n.void_seq > u.checkpoint
          AND n.void_seq <= u.seq
        -- Keeps the planner from reading every void there is.
        OFFSET 0
    ) v
)
SELECT p.principal_id,
       CASE WHEN b.stands THEN b.event_count ELSE 0 END,
       CASE WHEN b.stands THEN b.value END,
       NULL::numeric,
       CASE WHEN b.stands THEN b.latest_at END,
       CASE WHEN b.stands THEN b.latest_seq END,
       CASE WHEN b.stands THEN b.sketch END,
       NULL::numeric,
       b.stands AND b.event_count + b.skipped_count > 0,
       NOT b.stands,
       p.principal_no IN (SELECT v.principal_no FROM voided v),
       p.principal_no
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
  -- What only the sums need.
  AND ($3, $11, $12, $14) IS DISTINCT FROM (NULL::integer, NULL::text[], NULL::bigint, NULL::numeric)
ORDER BY p.principal_id
