CASE WHEN NOT $13 THEN bool_or(b.last_seq > ($5)[b.partition + 1]) END AS has_more,
       CASE WHEN NOT $13 THEN bool_or(b.last_void_seq > ($5)[b.partition + 1]) END AS is_voided,
       -- Where all events of a row were voided nothing happened; of the newest none such comes.
       CASE WHEN NOT $13 THEN bool_or(b.event_count + b.skipped_count > 0) ELSE true END AS has_any,
       CASE WHEN $3 IN (1, 5) THEN sum(b.event_count) END AS event_count,
       CASE $3
           WHEN 1 THEN NULL
           WHEN 3 THEN min(b.value)
           WHEN 4 THEN max(b.value)
           WHEN 8 THEN sum(b.value) FILTER (WHERE NOT b.before)
           ELSE sum(b.value)
       END AS value,
       CASE $3 WHEN 8 THEN sum(b.moment) FILTER (WHERE NOT b.before) END AS moment,
       CASE $3 WHEN 8 THEN sum(b.value) FILTER (WHERE b.before) END AS value_before
