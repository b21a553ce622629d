-- verify_events_next: the next of verify_events; each may have 256 KiB
FETCH 256 FROM verify_events
