CASE WHEN NOT $13 THEN NOT b.stands END AS is_refined,
       CASE WHEN NOT $13 THEN b.stands AND b.event_count + b.skipped_count > 0 ELSE true END AS has_any,
       CASE WHEN $3 IN (1, 5) AND b.stands THEN b.event_count END AS event_count,
       CASE WHEN $3 <> 1 AND b.stands THEN b.value END AS value,
       CASE WHEN $3 = 8 AND b.stands THEN b.moment END AS moment,
       NULL::numeric AS value_before
