DROP INDEX series_numbered;
CREATE INDEX pre_aggregates_1h_windows ON pre_aggregates_1h
    USING brin (window_start timestamptz_minmax_multi_ops)
    WITH (pages_per_range = 32, autosummarize = on);
CREATE INDEX pre_aggregates_1d_windows ON pre_aggregates_1d
    USING brin (window_start timestamptz_minmax_multi_ops)
    WITH (pages_per_range = 32, autosummarize = on);
ALTER TABLE sweep_checkpoints DROP COLUMN links_seq;
ALTER TABLE pre_aggregates DROP COLUMN total_series_no;
