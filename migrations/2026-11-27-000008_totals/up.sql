-- What a tenant adds up to is kept as series of its own in every partition. Written by sweeps.

-- Tenants as series know them: one number in each partition where anything of a tenant was folded.
-- Numbers of principals and of tenants come from one sequence, as both stand in `series`.
CREATE TABLE tenants (
    tenant_no bigint  NOT NULL DEFAULT nextval('principal_numbers'),
    partition integer NOT NULL,
    tenant_id text COLLATE "C" NOT NULL,
    CONSTRAINT tenants_identity PRIMARY KEY (tenant_id, partition),
    CONSTRAINT tenants_numbers UNIQUE (tenant_no, partition)
);

ALTER TABLE sweep_checkpoints
    -- Where it equals seq, totals of tenants are complete up to here too: their licence. Null where
    -- they were not kept from the first event on, as in generations that were begun before.
    ADD COLUMN totals_seq bigint;

-- Where buckets of a time lie, whosever they are: lists by value read a day or a month of everybody.
-- Rows come in about the order of their windows, late ones as outliers among them; no column of these
-- changes, so updates stay HOT, and what a sweep inserts is summarized later, by autovacuum.
CREATE INDEX pre_aggregates_1m_windows ON pre_aggregates_1m
    USING brin (window_start timestamptz_minmax_multi_ops)
    WITH (pages_per_range = 32, autosummarize = on);
CREATE INDEX pre_aggregates_1h_windows ON pre_aggregates_1h
    USING brin (window_start timestamptz_minmax_multi_ops)
    WITH (pages_per_range = 32, autosummarize = on);
CREATE INDEX pre_aggregates_1d_windows ON pre_aggregates_1d
    USING brin (window_start timestamptz_minmax_multi_ops)
    WITH (pages_per_range = 32, autosummarize = on);
