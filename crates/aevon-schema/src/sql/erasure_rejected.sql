-- erasure_rejected: a page of what was rejected of a tenant's
SELECT r.rejected_no, r.faults::text, concat_ws(' ', r.request_id, r.content_type), r.body
FROM rejected_events r
WHERE r.tenant_id = $1
  AND r.rejected_no > $2
ORDER BY r.tenant_id, r.rejected_no
LIMIT $3
