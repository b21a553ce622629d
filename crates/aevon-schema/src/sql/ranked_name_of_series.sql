SELECT q.principal_id
    FROM series n
    JOIN LATERAL (
        SELECT o.principal_id FROM principals o WHERE o.principal_no = n.principal_no OFFSET 0
    ) q ON true
    WHERE n.series_no = c.no
