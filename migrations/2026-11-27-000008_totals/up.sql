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
