-- export_erasures: every erasure
SELECT e.erasure_no, e.erased_at, e.erased_by, e.tenant_id, e.pseudonym, e.is_forced, e.events,
       e.rejected, e.last_seq
FROM erasures e
ORDER BY e.erasure_no
