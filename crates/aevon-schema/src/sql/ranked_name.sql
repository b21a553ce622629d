SELECT q.principal_id FROM principals q WHERE q.principal_no = c.no
