CASE WHEN NOT $13 THEN b.last_seq > ($5)[b.partition + 1] END AS has_more,
       CASE WHEN NOT $13 THEN b.last_void_seq > ($5)[b.partition + 1] END AS is_voided,
       CASE WHEN NOT $13 THEN b.event_count + b.skipped_count > 0 ELSE true END AS has_any,
       CASE WHEN $3 IN (1, 5) THEN b.event_count END AS event_count,
       CASE WHEN $3 <> 1 THEN b.value END AS value,
       CASE $3 WHEN 8 THEN b.moment END AS moment,
       NULL::numeric AS value_before
