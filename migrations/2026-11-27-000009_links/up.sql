-- A principal's bucket names the series of its tenant's total that it is a part of, so that the buckets
-- of a tenant, a rule and a time are found by an index, whosever they are. Written by sweeps.
ALTER TABLE pre_aggregates ADD COLUMN total_series_no bigint;

ALTER TABLE sweep_checkpoints
    -- Where it equals seq, all buckets up to here name their totals: the licence of lists by value. Null
    -- where they did not from the first event on, as in generations that were begun before.
    ADD COLUMN links_seq bigint;

-- Minutes have none: there are too many, and a read wants those of two hours at most, which BRIN finds.
CREATE INDEX pre_aggregates_1h_totals ON pre_aggregates_1h (total_series_no, window_start)
    WHERE total_series_no IS NOT NULL;
CREATE INDEX pre_aggregates_1d_totals ON pre_aggregates_1d (total_series_no, window_start)
    WHERE total_series_no IS NOT NULL;
DROP INDEX pre_aggregates_1h_windows, pre_aggregates_1d_windows;

-- Whose a bucket is, from the bucket: what a list by value has found is looked up so.
CREATE INDEX series_numbered ON series (series_no);
