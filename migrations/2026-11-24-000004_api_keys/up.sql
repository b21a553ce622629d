-- Who may call. Written by `aevon key` alone. A key is shown once, when it is made; what stands here
-- is the SHA-256 of its secret.
CREATE TABLE api_keys (
    key_no      integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    secret_hash bytea NOT NULL CHECK (octet_length(secret_hash) = 32),
    -- Null: the platform, which may name any tenant.
    tenant_id   text COLLATE "C",
    scopes      text[] NOT NULL
        CHECK (cardinality(scopes) > 0 AND scopes <@ ARRAY['ingest', 'read', 'admin']),
    created_at  timestamptz NOT NULL DEFAULT now(),
    -- May lie ahead: a key that was rotated goes on for a while.
    revoked_at  timestamptz
);
