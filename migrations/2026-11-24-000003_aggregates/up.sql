-- The cache of the fold: written by sweeps alone, may be dropped and rebuilt at any time.

-- What a bucket belongs to: a principal, a rule version and its group labels.
CREATE SEQUENCE series_numbers AS bigint;

CREATE TABLE series (
    principal_no bigint  NOT NULL,
    series_no    bigint  NOT NULL DEFAULT nextval('series_numbers'),
    rule_no      integer NOT NULL,
    generation   integer NOT NULL,
    partition    integer NOT NULL,
    -- SHA-256 of the canonical labels; empty for the ungrouped series, which stands beside groups.
    labels_hash  bytea   NOT NULL DEFAULT '',
    -- The labels by dimension, as an object of texts and nulls; null for the ungrouped series.
    labels       jsonb,
    CONSTRAINT series_identity PRIMARY KEY (principal_no, rule_no, generation, labels_hash, partition)
);

-- Grains have opposite lives: minutes are written about once, days are rewritten by each sweep.
-- No column that changes is indexed, so that an update within a page's free space stays HOT.
CREATE TABLE pre_aggregates (
    series_no     bigint      NOT NULL,
    window_start  timestamptz NOT NULL,
    event_count   bigint      NOT NULL,
    skipped_count bigint      NOT NULL,
    -- Every event that touched the bucket lies within; the span only widens.
    first_seq     bigint      NOT NULL,
    last_seq      bigint      NOT NULL,
    last_void_seq bigint,
    -- latest: the seq of the event whose value it is, and when it occurred.
    latest_seq    bigint,
    latest_at     timestamptz,
    partition     integer     NOT NULL,
    -- The UTC day of ingested_at, in days since 1970-01-01; 0 in rows of a day.
    epoch         integer     NOT NULL,
    -- Width in minutes: 1, 60 or 1440.
    grain         smallint    NOT NULL,
    -- 1 count, 2 sum, 3 min, 4 max, 5 avg, 6 latest, 7 unique_count, 8 weighted_sum: how two halves
    -- of a bucket merge.
    operator      smallint    NOT NULL,
    value         numeric,
    -- weighted_sum: the sum of changes times their instants, beside the sum of changes.
    moment        numeric,
    -- unique_count: the set of values, merged by whoever holds the lease.
    sketch        bytea,
    PRIMARY KEY (series_no, grain, window_start, epoch, partition)
) PARTITION BY LIST (grain);

-- Hashes don't compress.
ALTER TABLE pre_aggregates ALTER COLUMN sketch SET STORAGE EXTERNAL;

CREATE TABLE pre_aggregates_1m PARTITION OF pre_aggregates FOR VALUES IN (1)
    WITH (fillfactor = 95);
CREATE TABLE pre_aggregates_1h PARTITION OF pre_aggregates FOR VALUES IN (60)
    WITH (fillfactor = 75);
CREATE TABLE pre_aggregates_1d PARTITION OF pre_aggregates FOR VALUES IN (1440)
    WITH (fillfactor = 50);

-- The licence of buckets: a reader that finds none in its snapshot uses no bucket of that rule.
CREATE TABLE sweep_checkpoints (
    rule_no    integer NOT NULL,
    generation integer NOT NULL,
    partition  integer NOT NULL,
    -- The buckets are complete up to here. An ingest order, never a time.
    seq        bigint  NOT NULL,
    PRIMARY KEY (rule_no, generation, partition)
) WITH (fillfactor = 50);

-- Locked by whoever sweeps the partition; the row lock is the lease, a crash frees it.
CREATE TABLE sweep_leases (
    partition integer PRIMARY KEY
);
