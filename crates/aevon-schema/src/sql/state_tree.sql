-- state_tree: the buckets of a plan as they stood at a version ($15). One that stood so is taken as
-- it is, one that came later is left out, and one that has changed since, or that a void has touched
-- which it does not hold yet, is unsettled: it comes as its hours, and an hour as its minutes of the
-- same epoch. Minutes that are unsettled, and those that the range cuts, come out as such, for their
-- events. Whole rows are only ever streamed; what is kept of unsettled ones is narrow. Without a
-- principal ($11) it is about the total of the tenant. Where it is asked for ($18), the late events of
-- a row that stands are counted: those of epochs behind its window, which a day finds in its hours
WITH sought AS MATERIALIZED (
    SELECT s.series_no, s.labels, r.rule_no, c.seq AS checkpoint,
           r.definition ->> 'operator' = ANY ($17) AS looks_back
    FROM (
        SELECT o.principal_no
        FROM principals o
        WHERE o.tenant_id = $10
          AND o.principal_id = $11
          AND o.partition = $1
        UNION ALL
        -- The comparison of rows keeps the planner from reading every tenant of the partition.
        SELECT o.tenant_no
        FROM (
            SELECT t.tenant_no
            FROM tenants t
            WHERE $11 IS NULL
              AND (t.tenant_id, t.partition) >= ROW ($10, $1)
              AND (t.tenant_id, t.partition) <= ROW ($10, $1)
              AND t.partition = $1
            ORDER BY t.tenant_id, t.partition
            LIMIT 1
        ) o
    ) q
    CROSS JOIN rules r
    -- The licence: buckets of a rule that has no checkpoint don't count, nor totals that it does not
    -- keep.
    JOIN sweep_checkpoints c
      ON c.rule_no = r.rule_no
     AND c.generation = r.generation
     AND c.partition = $1
     AND ($11 IS NOT NULL OR c.totals_seq = c.seq)
    -- OFFSET 0 keeps the planner from reading every series of the partition.
    CROSS JOIN LATERAL (
        SELECT n.series_no, n.labels
        FROM series n
        WHERE n.principal_no = q.principal_no
          AND n.rule_no = r.rule_no
          AND n.generation = r.generation
          AND n.labels_hash >= $12
          AND n.labels_hash <= $13
          AND n.partition = $1
        OFFSET 0
    ) s
    -- Each dimension that is asked for has one of the labels that are kept.
    WHERE ($14 = '{}'::jsonb OR NOT EXISTS (
        SELECT FROM jsonb_each($14) k (dimension, labels)
        WHERE NOT k.labels @> coalesce(s.labels -> k.dimension, 'null'::jsonb)
      ))
      AND r.rule_no IN (
        SELECT a.rule_no FROM answering_rules a WHERE $2 OR a.name = ANY ($3)
        UNION
        SELECT v.rule_no FROM rules v JOIN unnest($4, $5) AS w (name, version)
          ON v.name = w.name AND v.version = w.version
      )
), voided AS MATERIALIZED (
    SELECT w.void_seq, w.target_seq, w.target_occurred_at
    FROM principals q
    CROSS JOIN LATERAL (
        SELECT n.void_seq, n.target_seq, n.target_occurred_at
        FROM voids n
        WHERE n.principal_no = q.principal_no
          AND n.void_seq > (SELECT min(s.checkpoint) FROM sought s)
          AND n.void_seq <= $15
          AND n.partition = $1
        ORDER BY n.principal_no, n.void_seq
    ) w
    WHERE q.tenant_id = $10
      AND q.principal_id = $11
      AND q.partition = $1
    UNION ALL
    -- Of whichever principal of the tenant. The orders and the comparison of rows keep the planner
    -- from reading every void, and every principal for each.
    SELECT w.void_seq, w.target_seq, w.target_occurred_at
    FROM (
        SELECT n.principal_no, n.void_seq, n.target_seq, n.target_occurred_at
        FROM voids n
        WHERE $11 IS NULL
          AND n.partition = $1
          AND n.void_seq > (SELECT min(s.checkpoint) FROM sought s)
          AND n.void_seq <= $15
        ORDER BY n.partition, n.void_seq
        OFFSET 0
    ) w
    CROSS JOIN LATERAL (
        SELECT p.tenant_id
        FROM principals p
        WHERE (p.principal_no, p.partition) >= ROW (w.principal_no, $1)
          AND (p.principal_no, p.partition) <= ROW (w.principal_no, $1)
          AND p.partition = $1
        ORDER BY p.principal_no, p.partition
        LIMIT 1
    ) q
    WHERE q.tenant_id = $10
), unsettled AS MATERIALIZED (
    SELECT s.rule_no, s.series_no, s.labels, s.checkpoint, u.grain, b.window_start, b.epoch
    FROM sought s
    CROSS JOIN unnest($6, $7, $8, $9) AS u (grain, window_from, window_to, before)
    -- OFFSET 0, here and below, keeps the planner from reading every window of a series.
    CROSS JOIN LATERAL (
        SELECT n.window_start, n.epoch
        FROM pre_aggregates n
        WHERE n.series_no = s.series_no
          AND n.grain = u.grain
          AND n.window_start >= u.window_from
          AND n.window_start < u.window_to
          AND n.partition = $1
          AND n.first_seq <= $15
          AND NOT (
            n.last_seq <= $15
            AND coalesce(n.last_void_seq, 0) <= $15
            AND ((SELECT count(*) FROM voided) = 0 OR NOT EXISTS (
                SELECT FROM voided w
                WHERE w.void_seq > s.checkpoint
                  AND w.target_seq >= n.first_seq
                  AND w.target_seq <= n.last_seq
                  AND w.target_occurred_at >= n.window_start
                  AND w.target_occurred_at < n.window_start + u.grain * interval '1 minute'
            ))
          )
        OFFSET 0
    ) b
    WHERE (NOT u.before OR s.looks_back)
      AND u.grain > 1
), unsettled_hours AS MATERIALIZED (
    SELECT d.rule_no, d.series_no, d.labels, d.checkpoint, d.window_start, d.epoch
    FROM unsettled d
    WHERE d.grain = 60
    UNION ALL
    SELECT d.rule_no, d.series_no, d.labels, d.checkpoint, b.window_start, b.epoch
    FROM unsettled d
    CROSS JOIN LATERAL (
        SELECT n.window_start, n.epoch
        FROM pre_aggregates n
        WHERE n.series_no = d.series_no
          AND n.grain = 60
          AND n.window_start >= d.window_start
          AND n.window_start < d.window_start + interval '1 day'
          AND n.partition = $1
          AND n.first_seq <= $15
          AND NOT (
            n.last_seq <= $15
            AND coalesce(n.last_void_seq, 0) <= $15
            AND ((SELECT count(*) FROM voided) = 0 OR NOT EXISTS (
                SELECT FROM voided w
                WHERE w.void_seq > d.checkpoint
                  AND w.target_seq >= n.first_seq
                  AND w.target_seq <= n.last_seq
                  AND w.target_occurred_at >= n.window_start
                  AND w.target_occurred_at < n.window_start + interval '1 hour'
            ))
          )
        OFFSET 0
    ) b
    WHERE d.grain = 1440
)
SELECT s.rule_no, s.labels, b.window_start, b.event_count, b.skipped_count, b.value,
       b.latest_at, b.latest_seq, b.moment, b.sketch,
       b.first_seq, b.last_seq, b.is_settled,
       CASE
       WHEN NOT $18 OR NOT b.is_settled THEN 0
       WHEN u.grain = 1440 THEN (
           SELECT coalesce(sum(l.event_count + l.skipped_count), 0)::bigint
           FROM pre_aggregates l
           WHERE l.series_no = s.series_no
             AND l.grain = 60
             AND l.window_start >= b.window_start
             AND l.window_start < b.window_start + interval '1 day'
             AND l.epoch > (b.window_start AT TIME ZONE 'UTC')::date - DATE '1970-01-01'
             AND l.partition = $1
       )
       WHEN b.epoch > (b.window_start AT TIME ZONE 'UTC')::date - DATE '1970-01-01'
       THEN b.event_count + b.skipped_count
       ELSE 0 END, u.grain
FROM sought s
CROSS JOIN unnest($6, $7, $8, $9, $16) AS u (grain, window_from, window_to, before, is_cut)
CROSS JOIN LATERAL (
    SELECT n.window_start, n.event_count, n.skipped_count, n.value,
           n.latest_at, n.latest_seq, n.moment, n.sketch, n.first_seq, n.last_seq, n.epoch,
           NOT u.is_cut
           AND n.last_seq <= $15
           AND coalesce(n.last_void_seq, 0) <= $15
           AND ((SELECT count(*) FROM voided) = 0 OR NOT EXISTS (
               SELECT FROM voided w
               WHERE w.void_seq > s.checkpoint
                 AND w.target_seq >= n.first_seq
                 AND w.target_seq <= n.last_seq
                 AND w.target_occurred_at >= n.window_start
                 AND w.target_occurred_at < n.window_start + u.grain * interval '1 minute'
           )) AS is_settled
    FROM pre_aggregates n
    WHERE n.series_no = s.series_no
      AND n.grain = u.grain
      AND n.window_start >= u.window_from
      AND n.window_start < u.window_to
      AND n.partition = $1
      AND n.first_seq <= $15
    OFFSET 0
) b
WHERE (NOT u.before OR s.looks_back)
  AND (b.is_settled OR u.grain = 1)
UNION ALL
SELECT d.rule_no, d.labels, b.window_start, b.event_count, b.skipped_count, b.value,
       b.latest_at, b.latest_seq, b.moment, b.sketch,
       b.first_seq, b.last_seq, true,
       CASE WHEN $18 AND b.epoch > (b.window_start AT TIME ZONE 'UTC')::date - DATE '1970-01-01'
            THEN b.event_count + b.skipped_count ELSE 0 END, 60::smallint
FROM unsettled d
CROSS JOIN LATERAL (
    SELECT n.window_start, n.event_count, n.skipped_count, n.value,
           n.latest_at, n.latest_seq, n.moment, n.sketch, n.first_seq, n.last_seq, n.epoch
    FROM pre_aggregates n
    WHERE n.series_no = d.series_no
      AND n.grain = 60
      AND n.window_start >= d.window_start
      AND n.window_start < d.window_start + interval '1 day'
      AND n.partition = $1
      AND n.first_seq <= $15
      AND n.last_seq <= $15
      AND coalesce(n.last_void_seq, 0) <= $15
      AND ((SELECT count(*) FROM voided) = 0 OR NOT EXISTS (
          SELECT FROM voided w
          WHERE w.void_seq > d.checkpoint
            AND w.target_seq >= n.first_seq
            AND w.target_seq <= n.last_seq
            AND w.target_occurred_at >= n.window_start
            AND w.target_occurred_at < n.window_start + interval '1 hour'
      ))
    OFFSET 0
) b
WHERE d.grain = 1440
UNION ALL
SELECT h.rule_no, h.labels, b.window_start, b.event_count, b.skipped_count, b.value,
       b.latest_at, b.latest_seq, b.moment, b.sketch,
       b.first_seq, b.last_seq, b.is_settled,
       CASE WHEN $18 AND b.is_settled
                 AND b.epoch > (b.window_start AT TIME ZONE 'UTC')::date - DATE '1970-01-01'
            THEN b.event_count + b.skipped_count ELSE 0 END, 1::smallint
FROM unsettled_hours h
CROSS JOIN LATERAL (
    SELECT n.window_start, n.event_count, n.skipped_count, n.value,
           n.latest_at, n.latest_seq, n.moment, n.sketch, n.first_seq, n.last_seq, n.epoch,
           n.last_seq <= $15
           AND coalesce(n.last_void_seq, 0) <= $15
           AND ((SELECT count(*) FROM voided) = 0 OR NOT EXISTS (
               SELECT FROM voided w
               WHERE w.void_seq > h.checkpoint
                 AND w.target_seq >= n.first_seq
                 AND w.target_seq <= n.last_seq
                 AND w.target_occurred_at >= n.window_start
                 AND w.target_occurred_at < n.window_start + interval '1 minute'
           )) AS is_settled
    FROM pre_aggregates n
    WHERE n.series_no = h.series_no
      AND n.grain = 1
      AND n.window_start >= h.window_start
      AND n.window_start < h.window_start + interval '1 hour'
      AND n.epoch = h.epoch
      AND n.partition = $1
      AND n.first_seq <= $15
    OFFSET 0
) b
