-- pre_aggregates_merge_more: pre_aggregates_merge for every operator, and for voids. A sketch comes merged with the
-- one that stands: the lease keeps others away
INSERT INTO pre_aggregates AS b (partition, grain, series_no, operator, window_start, epoch,
                                 event_count, skipped_count, first_seq, last_seq, value,
                                 latest_at, latest_seq, moment, sketch, last_void_seq,
                                 total_series_no)
SELECT p.partition, $2, u.series_no, u.operator, u.window_start, u.epoch,
       u.event_count, u.skipped_count, u.first_seq, u.last_seq, u.value,
       u.latest_at, u.latest_seq, u.moment, u.sketch, u.last_void_seq,
       u.total_series_no
FROM partitions p
CROSS JOIN unnest($3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)
     AS u (series_no, operator, window_start, epoch,
           event_count, skipped_count, first_seq, last_seq, value,
           latest_at, latest_seq, moment, sketch, last_void_seq, total_series_no)
WHERE p.partition = $1
ON CONFLICT (series_no, grain, window_start, epoch, partition) DO UPDATE SET
    event_count = b.event_count + excluded.event_count,
    skipped_count = b.skipped_count + excluded.skipped_count,
    first_seq = least(b.first_seq, excluded.first_seq),
    last_seq = greatest(b.last_seq, excluded.last_seq),
    value = CASE b.operator
        WHEN 3 THEN least(b.value, excluded.value)
        WHEN 4 THEN greatest(b.value, excluded.value)
        WHEN 6 THEN CASE
            WHEN (b.latest_at, b.latest_seq) >= (excluded.latest_at, excluded.latest_seq)
              OR excluded.latest_at IS NULL THEN b.value
            ELSE excluded.value END
        ELSE coalesce(b.value + excluded.value, b.value, excluded.value)
    END,
    latest_seq = CASE
        WHEN (b.latest_at, b.latest_seq) >= (excluded.latest_at, excluded.latest_seq)
          OR excluded.latest_at IS NULL THEN b.latest_seq
        ELSE excluded.latest_seq END,
    latest_at = greatest(b.latest_at, excluded.latest_at),
    moment = coalesce(b.moment + excluded.moment, b.moment, excluded.moment),
    sketch = coalesce(excluded.sketch, b.sketch),
    last_void_seq = greatest(b.last_void_seq, excluded.last_void_seq)
