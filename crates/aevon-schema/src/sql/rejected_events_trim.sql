-- rejected_events_trim: where all are larger than $1 bytes, a tenant that has more than its share
-- loses its oldest. $2 is what a row takes beside its body.
WITH sized AS MATERIALIZED (
    SELECT rejected_no, tenant_id, octet_length(body) + $2 AS bytes FROM rejected_events
), bound AS (
    SELECT $1 / greatest(count(DISTINCT tenant_id), 1) AS share, sum(bytes) AS total FROM sized
), ranked AS (
    SELECT rejected_no, sum(bytes) OVER (PARTITION BY tenant_id ORDER BY rejected_no DESC) AS newer
    FROM sized
)
DELETE FROM rejected_events r USING ranked, bound
WHERE r.rejected_no = ranked.rejected_no AND bound.total > $1 AND ranked.newer > bound.share
