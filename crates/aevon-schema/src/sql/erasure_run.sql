-- erasure_run: the one way in which anything in the log changes
SELECT e.events, e.rejected
FROM erase_principal($1, $2, $3, $4, $5, $6, $7, $8) e
