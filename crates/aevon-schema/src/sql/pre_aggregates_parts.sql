-- pre_aggregates_parts: the buckets of one grain that others are made of, each with the place of the
-- other in the question, from 1
SELECT u.place, b.value, b.latest_at, b.latest_seq, b.moment, b.sketch
FROM unnest($3, $4, $5, $6) WITH ORDINALITY AS u (series_no, window_from, window_to, epoch, place)
-- OFFSET 0 keeps the planner from reading every bucket of the partition.
JOIN LATERAL (
    SELECT n.value, n.latest_at, n.latest_seq, n.moment, n.sketch
    FROM pre_aggregates n
    WHERE n.series_no = u.series_no
      AND n.grain = $2
      AND n.window_start >= u.window_from
      AND n.window_start < u.window_to
      -- A day, which has none, is made of the hours of every epoch.
      AND (u.epoch IS NULL OR n.epoch = u.epoch)
      AND n.partition = $1
    OFFSET 0
) b ON true
