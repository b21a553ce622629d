SELECT n.series_no, sum(n.event_count) AS event_count, sum(n.skipped_count) AS skipped_count,
       CASE $3
           WHEN 3 THEN min(n.value)
           WHEN 4 THEN max(n.value)
           ELSE sum(n.value)
       END AS value,
       sum(n.moment) AS moment, sum(n.value_before) AS value_before,
       max(n.last_seq) AS last_seq, max(n.last_void_seq) AS last_void_seq
FROM ({parts}) n
GROUP BY n.series_no
