-- erasure_extents: the types of a principal's events behind a position, with the bytes of the largest
-- documents of each, the last position, and how many there are
SELECT e.type, max(octet_length(e.data::text))::bigint, max(octet_length(e.metadata::text))::bigint,
       max(e.seq), count(*)
FROM (
    SELECT g.type, g.data, g.metadata, g.seq
    FROM events g
    WHERE g.principal_no = $2
      AND g.seq > $3
      AND g.partition = $1
    ORDER BY g.principal_no, g.seq
) e
GROUP BY e.type
