-- Which events are voided, and from which position on. Written with the void itself, by ingest-svc.
CREATE TABLE voids (
    principal_no       bigint      NOT NULL,
    -- The event that is voided, and its void: both of this principal.
    target_seq         bigint      NOT NULL,
    void_seq           bigint      NOT NULL CHECK (void_seq > target_seq),
    -- Which windows the void changes.
    target_occurred_at timestamptz NOT NULL,
    partition          integer     NOT NULL,
    -- An event is voided once.
    CONSTRAINT voids_identity PRIMARY KEY (principal_no, target_seq, partition),
    -- A void voids one event. For sweeps: the voids of a slice.
    CONSTRAINT voids_order UNIQUE (partition, void_seq)
);

-- For reads: what was voided since a checkpoint.
CREATE INDEX voids_by_principal ON voids (principal_no, void_seq);

-- A part of the log, and as final.
CREATE TRIGGER voids_are_immutable BEFORE UPDATE OR DELETE OR TRUNCATE ON voids
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
ALTER TABLE voids ENABLE ALWAYS TRIGGER voids_are_immutable;
