-- rejected_events_list: the newest first; bodies up to a number of bytes, but always one.
SELECT rejected_no, received_at, codes, request_id, item_index, event_id, content_type,
       faults::text, body, body_bytes, has_next
FROM (
    SELECT *, row_number() OVER newest AS place,
           sum(octet_length(body)) OVER newest - octet_length(body) AS bytes_before,
           lead(rejected_no) OVER newest IS NOT NULL AS has_next
    FROM (
        SELECT * FROM rejected_events
        WHERE tenant_id = $1 AND rejected_no < $2 AND ($3::text IS NULL OR $3 = ANY (codes))
        ORDER BY tenant_id DESC, rejected_no DESC
        LIMIT $4 + 1
    ) AS page
    WINDOW newest AS (ORDER BY rejected_no DESC)
) AS placed
WHERE place <= $4 AND bytes_before < $5
ORDER BY rejected_no DESC
