-- pre_aggregates_merge: the deltas of one grain into its buckets, in the order of the key, where no
-- operator keeps more than counts and an amount
INSERT INTO pre_aggregates AS b (partition, grain, series_no, operator, window_start, epoch,
                                 event_count, skipped_count, first_seq, last_seq, value,
                                 total_series_no)
SELECT p.partition, $2, u.series_no, u.operator, u.window_start, u.epoch,
       u.event_count, u.skipped_count, u.first_seq, u.last_seq, u.value,
       u.total_series_no
FROM partitions p
CROSS JOIN unnest($3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
     AS u (series_no, operator, window_start, epoch,
           event_count, skipped_count, first_seq, last_seq, value, total_series_no)
WHERE p.partition = $1
ON CONFLICT (series_no, grain, window_start, epoch, partition) DO UPDATE SET
    event_count = b.event_count + excluded.event_count,
    skipped_count = b.skipped_count + excluded.skipped_count,
    first_seq = least(b.first_seq, excluded.first_seq),
    last_seq = greatest(b.last_seq, excluded.last_seq),
    value = CASE b.operator
        WHEN 2 THEN coalesce(b.value + excluded.value, b.value, excluded.value)
        WHEN 3 THEN least(b.value, excluded.value)
        WHEN 4 THEN greatest(b.value, excluded.value)
        WHEN 5 THEN coalesce(b.value + excluded.value, b.value, excluded.value)
    END
