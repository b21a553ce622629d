-- pre_aggregates_mark: buckets of one grain that voids have changed
UPDATE pre_aggregates AS b
SET last_void_seq = greatest(b.last_void_seq, u.void_seq)
FROM unnest($3, $4, $5, $6) AS u (series_no, window_start, epoch, void_seq)
WHERE b.series_no = u.series_no
  AND b.grain = $2
  AND b.window_start = u.window_start
  AND b.epoch = u.epoch
  AND b.partition = $1
