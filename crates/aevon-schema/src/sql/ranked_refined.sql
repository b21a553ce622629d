-- ranked_refined: what buckets of principals, or of their series ($1), that have changed since positions
-- ($4) of the partitions were made of then: the hours of a day, the minutes of an hour that has changed as
-- well, of the same epoch; minutes that have changed come out as such, for their events. See state_tree,
-- which does the same for one principal or total, and ranked_sums for the places of a plan
WITH sought AS MATERIALIZED (
    SELECT w.no, s.principal_no, s.partition, ($4)[s.partition + 1] AS seq, s.series_no, s.labels
    FROM unnest($1) AS w (no)
    -- OFFSET 0 keeps the planner from reading all of the series, here and below.
    CROSS JOIN LATERAL (
        SELECT n.series_no, n.principal_no, n.partition, n.labels
        FROM series n
        WHERE {unit} = w.no
          AND n.rule_no = $2
          AND n.generation = (SELECT r.generation FROM rules r WHERE r.rule_no = $2)
          AND n.labels_hash >= $7
          AND n.labels_hash <= $8
        OFFSET 0
    ) s
    -- The licence, by partition.
    WHERE ($3)[s.partition + 1] IS NOT NULL
      -- Each dimension that is asked for has one of the labels that are kept.
      AND ($9 = '{}'::jsonb OR NOT EXISTS (
        SELECT FROM jsonb_each($9) k (dimension, labels)
        WHERE NOT k.labels @> coalesce(s.labels -> k.dimension, 'null'::jsonb)
      ))
), changed AS MATERIALIZED (
    SELECT s.no, s.principal_no, s.partition, s.seq, s.series_no, s.labels, u.grain,
           b.window_start, b.epoch, b.first_seq, b.last_seq
    FROM sought s
    CROSS JOIN unnest(ARRAY[1440, 60, 60, 1, 1, 1440, 60, 1], $5, $6)
      AS u (grain, window_from, window_to)
    CROSS JOIN LATERAL (
        SELECT n.window_start, n.epoch, n.first_seq, n.last_seq
        FROM pre_aggregates n
        WHERE n.series_no = s.series_no
          AND n.grain = u.grain
          AND n.window_start >= u.window_from
          AND n.window_start < u.window_to
          AND n.partition = s.partition
          AND n.first_seq <= s.seq
          AND (n.last_seq > s.seq OR coalesce(n.last_void_seq, 0) > s.seq)
        OFFSET 0
    ) b
), hours AS MATERIALIZED (
    SELECT d.no, d.principal_no, d.partition, d.seq, d.series_no, d.labels,
           d.window_start, d.epoch
    FROM changed d
    WHERE d.grain = 60
    UNION ALL
    SELECT d.no, d.principal_no, d.partition, d.seq, d.series_no, d.labels,
           b.window_start, b.epoch
    FROM changed d
    CROSS JOIN LATERAL (
        SELECT n.window_start, n.epoch
        FROM pre_aggregates n
        WHERE n.series_no = d.series_no
          AND n.grain = 60
          AND n.window_start >= d.window_start
          AND n.window_start < d.window_start + interval '1 day'
          AND n.partition = d.partition
          AND n.first_seq <= d.seq
          AND (n.last_seq > d.seq OR coalesce(n.last_void_seq, 0) > d.seq)
        OFFSET 0
    ) b
    WHERE d.grain = 1440
)
SELECT d.no, d.principal_no, d.partition, d.labels, b.window_start, b.event_count,
       b.skipped_count, b.value, b.latest_at, b.latest_seq, b.moment, b.sketch,
       b.first_seq, b.last_seq, true
FROM changed d
CROSS JOIN LATERAL (
    SELECT n.*
    FROM pre_aggregates n
    WHERE n.series_no = d.series_no
      AND n.grain = 60
      AND n.window_start >= d.window_start
      AND n.window_start < d.window_start + interval '1 day'
      AND n.partition = d.partition
      AND n.last_seq <= d.seq
      AND coalesce(n.last_void_seq, 0) <= d.seq
    OFFSET 0
) b
WHERE d.grain = 1440
UNION ALL
SELECT h.no, h.principal_no, h.partition, h.labels, b.window_start, b.event_count,
       b.skipped_count, b.value, b.latest_at, b.latest_seq, b.moment, b.sketch,
       b.first_seq, b.last_seq, b.last_seq <= h.seq AND coalesce(b.last_void_seq, 0) <= h.seq
FROM hours h
CROSS JOIN LATERAL (
    SELECT n.*
    FROM pre_aggregates n
    WHERE n.series_no = h.series_no
      AND n.grain = 1
      AND n.window_start >= h.window_start
      AND n.window_start < h.window_start + interval '1 hour'
      AND n.epoch = h.epoch
      AND n.partition = h.partition
      AND n.first_seq <= h.seq
    OFFSET 0
) b
UNION ALL
SELECT m.no, m.principal_no, m.partition, m.labels, m.window_start, 0, 0, NULL, NULL, NULL,
       NULL, NULL, m.first_seq, m.last_seq, false
FROM changed m
WHERE m.grain = 1
