-- The log and what orders it. Written by ingest-svc alone.

-- One row a partition. Appends lock rows and never update them: a counter would bloat under any
-- long snapshot elsewhere. The number of rows is the number of partitions, chosen once.
CREATE TABLE partitions (
    partition integer PRIMARY KEY CHECK (partition >= 0),
    erasures  bigint  NOT NULL DEFAULT 0
);

-- Text identifiers stand here once; everywhere else a principal is a number.
CREATE SEQUENCE principal_numbers AS bigint;

CREATE TABLE principals (
    principal_no bigint  NOT NULL DEFAULT nextval('principal_numbers'),
    partition    integer NOT NULL,
    tenant_id    text COLLATE "C" NOT NULL,
    principal_id text COLLATE "C" NOT NULL,
    PRIMARY KEY (principal_no, partition),
    CONSTRAINT principals_identity UNIQUE (tenant_id, principal_id, partition)
);

CREATE TABLE events (
    seq            bigint      NOT NULL CHECK (seq > 0),
    principal_no   bigint      NOT NULL,
    occurred_at    timestamptz NOT NULL,
    ingested_at    timestamptz NOT NULL,
    partition      integer     NOT NULL,
    schema_version integer     NOT NULL,
    event_id       text COLLATE "C" NOT NULL,
    type           text COLLATE "C" NOT NULL,
    data           jsonb       NOT NULL,
    metadata       jsonb       NOT NULL,
    -- The id leads: time-ordered ids then touch only the warm end of the index.
    CONSTRAINT events_identity UNIQUE (event_id, principal_no, partition),
    CONSTRAINT events_order UNIQUE (partition, seq)
) WITH (autovacuum_analyze_scale_factor = 0.02);

CREATE INDEX events_by_principal ON events (principal_no, seq);

-- The log is append-only whoever asks, the owner included.
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the log is append-only: % on % is refused', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation';
END
$$;

CREATE TRIGGER events_are_immutable BEFORE UPDATE OR DELETE OR TRUNCATE ON events
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
-- Also for sessions that replicate, which skip ordinary triggers.
ALTER TABLE events ENABLE ALWAYS TRIGGER events_are_immutable;
