-- pre_aggregates_replace: what buckets of one grain keep of their events, folded anew
UPDATE pre_aggregates AS b
SET value = u.value, latest_at = u.latest_at, latest_seq = u.latest_seq, sketch = u.sketch
FROM unnest($3, $4, $5, $6, $7, $8, $9)
     AS u (series_no, window_start, epoch, value, latest_at, latest_seq, sketch)
WHERE b.series_no = u.series_no
  AND b.grain = $2
  AND b.window_start = u.window_start
  AND b.epoch = u.epoch
  AND b.partition = $1
