-- pre_aggregates_replace: what buckets of one grain keep of their events, folded anew
INSERT INTO pre_aggregates AS b (partition, grain, series_no, operator, window_start, epoch,
                                 event_count, skipped_count, first_seq, last_seq, value,
                                 latest_at, latest_seq, moment, sketch)
SELECT p.partition, $2, u.series_no, k.operator, u.window_start, u.epoch,
       k.event_count, k.skipped_count, k.first_seq, k.last_seq, u.value,
       u.latest_at, u.latest_seq, u.moment, u.sketch
FROM partitions p
CROSS JOIN unnest($3, $4, $5, $6, $7, $8, $9, $10)
     AS u (series_no, window_start, epoch, value, latest_at, latest_seq, moment, sketch)
-- All of them stand: an update by way of an insert, whose look-up no planner can get wrong. OFFSET 0
-- keeps this one from reading every bucket of the partition.
JOIN LATERAL (
    SELECT n.operator, n.event_count, n.skipped_count, n.first_seq, n.last_seq
    FROM pre_aggregates n
    WHERE n.series_no = u.series_no
      AND n.grain = $2
      AND n.window_start = u.window_start
      AND n.epoch = u.epoch
      AND n.partition = $1
    OFFSET 0
) k ON true
WHERE p.partition = $1
ON CONFLICT (series_no, grain, window_start, epoch, partition) DO UPDATE SET
    value = excluded.value,
    latest_at = excluded.latest_at,
    latest_seq = excluded.latest_seq,
    moment = excluded.moment,
    sketch = excluded.sketch
