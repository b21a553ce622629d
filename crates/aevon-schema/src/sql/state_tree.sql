-- state_tree: the buckets of a plan as they stood at a version ($15). One that stood so is taken as
-- it is, one that came later is left out, and one that has changed since, or that a void has touched
-- which it does not hold yet, is refined: a day into its hours, an hour into its minutes of the same
-- epoch. Minutes that don't stand, and those that the range cuts, come out as such, for their events
WITH RECURSIVE sought AS MATERIALIZED (
    SELECT s.series_no, s.labels, r.rule_no, c.seq AS checkpoint,
           r.definition ->> 'operator' = 'weighted_sum' AS looks_back
    FROM principals q
    CROSS JOIN rules r
    -- The licence: buckets of a rule that has no checkpoint don't count.
    JOIN sweep_checkpoints c
      ON c.rule_no = r.rule_no
     AND c.generation = r.generation
     AND c.partition = $1
    JOIN series s
      ON s.principal_no = q.principal_no
     AND s.rule_no = r.rule_no
     AND s.generation = r.generation
     AND s.labels_hash >= $12
     AND s.labels_hash <= $13
     AND s.partition = $1
    WHERE q.tenant_id = $10
      AND q.principal_id = $11
      AND q.partition = $1
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
), tree AS (
    SELECT s.rule_no, s.series_no, s.labels, s.checkpoint, b.*,
           NOT u.is_cut AND b.last_seq <= $15 AND coalesce(b.last_void_seq, 0) <= $15
           AND NOT EXISTS (
               SELECT FROM voided w
               WHERE w.void_seq > s.checkpoint
                 AND w.target_seq >= b.first_seq
                 AND w.target_seq <= b.last_seq
                 AND w.target_occurred_at >= b.window_start
                 AND w.target_occurred_at < b.window_start + b.grain * interval '1 minute'
           ) AS stands
    FROM sought s
    CROSS JOIN unnest($6, $7, $8, $9, $16) AS u (grain, window_from, window_to, before, is_cut)
    -- OFFSET 0 keeps the planner from reading every window of the series.
    JOIN LATERAL (
        SELECT n.grain, n.window_start, n.epoch, n.first_seq, n.last_seq, n.last_void_seq,
               n.event_count, n.skipped_count, n.value, n.latest_at, n.latest_seq, n.moment, n.sketch
        FROM pre_aggregates n
        WHERE n.series_no = s.series_no
          AND n.grain = u.grain
          AND n.window_start >= u.window_from
          AND n.window_start < u.window_to
          AND n.partition = $1
          AND n.first_seq <= $15
        OFFSET 0
    ) b ON true
    WHERE NOT u.before OR s.looks_back
    UNION ALL
    SELECT t.rule_no, t.series_no, t.labels, t.checkpoint, b.*,
           b.last_seq <= $15 AND coalesce(b.last_void_seq, 0) <= $15
           AND NOT EXISTS (
               SELECT FROM voided w
               WHERE w.void_seq > t.checkpoint
                 AND w.target_seq >= b.first_seq
                 AND w.target_seq <= b.last_seq
                 AND w.target_occurred_at >= b.window_start
                 AND w.target_occurred_at < b.window_start + b.grain * interval '1 minute'
           ) AS stands
    FROM tree t
    JOIN LATERAL (
        SELECT n.grain, n.window_start, n.epoch, n.first_seq, n.last_seq, n.last_void_seq,
               n.event_count, n.skipped_count, n.value, n.latest_at, n.latest_seq, n.moment, n.sketch
        FROM pre_aggregates n
        WHERE n.series_no = t.series_no
          AND n.grain = CASE t.grain WHEN 1440 THEN 60 ELSE 1 END
          AND n.window_start >= t.window_start
          AND n.window_start < t.window_start + t.grain * interval '1 minute'
          AND (t.grain = 1440 OR n.epoch = t.epoch)
          AND n.partition = $1
          AND n.first_seq <= $15
        OFFSET 0
    ) b ON true
    WHERE NOT t.stands
      AND t.grain > 1
)
SELECT t.rule_no, t.labels, t.window_start, t.event_count, t.skipped_count, t.value,
       t.latest_at, t.latest_seq, t.moment, t.sketch,
       CASE WHEN NOT t.stands THEN t.first_seq END, t.last_seq
FROM tree t
WHERE t.stands
   OR t.grain = 1
