CASE WHEN NOT $13 THEN NOT bool_and(b.stands) END AS is_refined,
       -- Where all events of a row were voided nothing happened; of the newest none such comes.
       CASE WHEN NOT $13 THEN bool_or(b.stands AND b.event_count + b.skipped_count > 0) ELSE true END AS has_any,
       CASE WHEN $3 IN (1, 5) THEN sum(b.event_count){standing} END AS event_count,
       CASE $3
           WHEN 1 THEN NULL
           WHEN 3 THEN min(b.value){standing}
           WHEN 4 THEN max(b.value){standing}
           WHEN 8 THEN sum(b.value) FILTER (WHERE NOT b.before{and_standing})
           ELSE sum(b.value){standing}
       END AS value,
       CASE $3 WHEN 8 THEN sum(b.moment) FILTER (WHERE NOT b.before{and_standing}) END AS moment,
       CASE $3 WHEN 8 THEN sum(b.value) FILTER (WHERE b.before{and_standing}) END AS value_before
