-- What was refused of what a tenant sent, so that a producer's fault can be found and its events
-- sent again. Written and trimmed by ingest-svc alone; bounded in age and in size.
CREATE TABLE rejected_events (
    rejected_no  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    received_at  timestamptz NOT NULL,
    tenant_id    text COLLATE "C" NOT NULL,
    -- The public code of the refusal, then those of its faults.
    codes        text[] NOT NULL CHECK (cardinality(codes) > 0),
    request_id   text NOT NULL,
    -- Its place in an array; null where one event, or a body as a whole, was refused.
    item_index   integer,
    event_id     text COLLATE "C",
    content_type text,
    -- Each fault, as the caller was told. Text, not jsonb: it may repeat anything that was sent.
    faults       json NOT NULL,
    -- The event, or the body as a whole, as far as it is kept.
    body         bytea NOT NULL,
    -- How many bytes it has in full; null where nobody counted them.
    body_bytes   bigint
);

CREATE INDEX rejected_events_by_tenant ON rejected_events (tenant_id, rejected_no);
CREATE INDEX rejected_events_by_age ON rejected_events (received_at);
