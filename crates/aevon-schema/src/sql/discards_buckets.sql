-- discards_buckets: deletes so many buckets of these series at most
WITH doomed AS MATERIALIZED (
    SELECT n.series_no, n.grain, n.window_start, n.epoch
    FROM unnest($2) AS u (series_no)
    CROSS JOIN LATERAL (
        SELECT b.series_no, b.grain, b.window_start, b.epoch
        FROM pre_aggregates b
        WHERE b.series_no = u.series_no AND b.partition = $1
        OFFSET 0
    ) n
    LIMIT $3
)
DELETE FROM pre_aggregates AS t
USING doomed
WHERE t.series_no = doomed.series_no
  AND t.grain = doomed.grain
  AND t.window_start = doomed.window_start
  AND t.epoch = doomed.epoch
  AND t.partition = $1
