-- ranked_rows: the buckets of each principal of a tenant by a rule whose buckets Postgres can not add up,
-- as of positions ($5) of the partitions, which may be the newest ($13), principal by principal.
-- The parts of a plan have places: its day, its two hours and minutes; a place without a part is null,
-- and planned away: this is planned for each question. A row that does not stand at the version, or a
-- void that the buckets do not hold yet, makes its principal unsettled
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
SELECT p.principal_id, b.event_count, b.value, NULL::numeric, b.latest_at, b.latest_seq, b.sketch,
       NULL::numeric, b.event_count + b.skipped_count > 0,
       b.last_seq > ($5)[p.partition + 1]
       OR coalesce(b.last_void_seq, 0) > ($5)[p.partition + 1]
       OR p.principal_no IN (SELECT v.principal_no FROM voided v)
FROM principals p
JOIN series s ON s.principal_no = p.principal_no
JOIN (
    SELECT n.series_no, n.event_count, n.skipped_count, n.value, n.latest_at, n.latest_seq,
           n.sketch, n.first_seq, n.last_seq, n.last_void_seq
    FROM pre_aggregates n
    WHERE n.grain = 1440 AND n.window_start >= ($6)[1] AND n.window_start < ($7)[1]
    UNION ALL
    SELECT n.series_no, n.event_count, n.skipped_count, n.value, n.latest_at, n.latest_seq,
           n.sketch, n.first_seq, n.last_seq, n.last_void_seq
    FROM pre_aggregates n
    WHERE n.grain = 60 AND n.window_start >= ($6)[2] AND n.window_start < ($7)[2]
    UNION ALL
    SELECT n.series_no, n.event_count, n.skipped_count, n.value, n.latest_at, n.latest_seq,
           n.sketch, n.first_seq, n.last_seq, n.last_void_seq
    FROM pre_aggregates n
    WHERE n.grain = 60 AND n.window_start >= ($6)[3] AND n.window_start < ($7)[3]
    UNION ALL
    SELECT n.series_no, n.event_count, n.skipped_count, n.value, n.latest_at, n.latest_seq,
           n.sketch, n.first_seq, n.last_seq, n.last_void_seq
    FROM pre_aggregates n
    WHERE n.grain = 1 AND n.window_start >= ($6)[4] AND n.window_start < ($7)[4]
    UNION ALL
    SELECT n.series_no, n.event_count, n.skipped_count, n.value, n.latest_at, n.latest_seq,
           n.sketch, n.first_seq, n.last_seq, n.last_void_seq
    FROM pre_aggregates n
    WHERE n.grain = 1 AND n.window_start >= ($6)[5] AND n.window_start < ($7)[5]
) b ON b.series_no = s.series_no
WHERE p.tenant_id = $1
  AND s.rule_no = $2
  AND s.generation = (SELECT r.generation FROM rules r WHERE r.rule_no = $2)
  AND s.labels_hash >= $8
  AND s.labels_hash <= $9
  -- Each dimension that is asked for has one of the labels that are kept.
  AND ($10 = '{}'::jsonb OR NOT EXISTS (
    SELECT FROM jsonb_each($10) k (dimension, labels)
    WHERE NOT k.labels @> coalesce(s.labels -> k.dimension, 'null'::jsonb)
  ))
  -- The licence, by partition.
  AND ($4)[s.partition + 1] IS NOT NULL
  AND ($13 OR b.first_seq <= ($5)[s.partition + 1])
  -- What only the sums need.
  AND ($3, $11, $12) IS DISTINCT FROM (NULL::integer, NULL::text[], NULL::bigint)
ORDER BY p.principal_id
