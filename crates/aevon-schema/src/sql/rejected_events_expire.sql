-- rejected_events_expire
DELETE FROM rejected_events WHERE received_at < now() - $1 * interval '1 microsecond'
