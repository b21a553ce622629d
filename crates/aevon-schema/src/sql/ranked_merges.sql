CASE WHEN NOT $13 THEN bool_or(b.is_refined) END AS is_refined,
       CASE WHEN NOT $13 THEN bool_or(b.has_any) ELSE true END AS has_any,
       CASE WHEN $3 IN (1, 5) THEN sum(b.event_count) END AS event_count,
       CASE $3
           WHEN 1 THEN NULL
           WHEN 3 THEN min(b.value)
           WHEN 4 THEN max(b.value)
           ELSE sum(b.value)
       END AS value,
       CASE $3 WHEN 8 THEN sum(b.moment) END AS moment,
       CASE $3 WHEN 8 THEN sum(b.value_before) END AS value_before
