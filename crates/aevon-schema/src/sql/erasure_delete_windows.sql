-- erasure_delete_windows: buckets of one grain of a series
DELETE FROM pre_aggregates b
USING unnest($4, $5) AS u (window_start, epoch)
WHERE b.series_no = $3
  AND b.grain = $2
  AND b.window_start = u.window_start
  AND b.epoch = u.epoch
  AND b.partition = $1
