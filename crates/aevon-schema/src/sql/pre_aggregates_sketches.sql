-- pre_aggregates_sketches: the sketches that stand in these buckets, each with its place in the
-- question, from 1
SELECT u.place, b.sketch
FROM unnest($3, $4, $5) WITH ORDINALITY AS u (series_no, window_start, epoch, place)
-- OFFSET 0 keeps the planner from reading every bucket of the partition.
JOIN LATERAL (
    SELECT n.sketch
    FROM pre_aggregates n
    WHERE n.series_no = u.series_no
      AND n.grain = $2
      AND n.window_start = u.window_start
      AND n.epoch = u.epoch
      AND n.partition = $1
    OFFSET 0
) b ON true
WHERE b.sketch IS NOT NULL
