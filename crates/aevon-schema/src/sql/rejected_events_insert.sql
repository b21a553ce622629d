-- rejected_events_insert: $3 holds codes with commas in between
INSERT INTO rejected_events
    (received_at, tenant_id, codes, request_id, item_index, event_id, content_type, faults, body,
     body_bytes)
SELECT r.received_at, r.tenant_id, string_to_array(r.codes, ','), r.request_id, r.item_index,
       r.event_id, r.content_type, r.faults::json, r.body, r.body_bytes
FROM unnest($1::timestamptz[], $2::text[], $3::text[], $4::text[], $5::int[], $6::text[],
            $7::text[], $8::text[], $9::bytea[], $10::bigint[])
    AS r (received_at, tenant_id, codes, request_id, item_index, event_id, content_type, faults,
          body, body_bytes)
