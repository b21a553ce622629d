-- import_erasures: what was erased before
INSERT INTO erasures (erasure_no, erased_at, erased_by, tenant_id, pseudonym, is_forced, events,
                      rejected, last_seq)
OVERRIDING SYSTEM VALUE
SELECT u.erasure_no, u.erased_at, u.erased_by, u.tenant_id, u.pseudonym, u.is_forced, u.events,
       u.rejected, u.last_seq
FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9)
     AS u (erasure_no, erased_at, erased_by, tenant_id, pseudonym, is_forced, events, rejected, last_seq)
