-- events_readable: nothing but the conversion of the parameters; fails where Postgres can't read them
SELECT cardinality($1::text[]) + cardinality($2::jsonb[])
