-- Legal erasure, the one thing that changes what stands in the log; and imports, which begin a log.

-- Each erasure, for ever: when, by whom, under which name whose events are found now. Never the old
-- name. Written by `erase_principal` alone.
CREATE TABLE erasures (
    erasure_no bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    erased_at  timestamptz NOT NULL DEFAULT now(),
    erased_by  text   NOT NULL DEFAULT session_user,
    tenant_id  text COLLATE "C" NOT NULL,
    -- Null where nothing but rejected events was found.
    pseudonym  text COLLATE "C",
    -- Whether places were blanked that rules read.
    is_forced  boolean NOT NULL,
    events     bigint NOT NULL DEFAULT 0,
    rejected   bigint NOT NULL DEFAULT 0,
    -- The principal's last event that was blanked.
    last_seq   bigint NOT NULL DEFAULT 0
);

-- What was imported into this database, or is being: the SHA-256 of the export.
CREATE TABLE imports (
    export_hash bytea PRIMARY KEY CHECK (octet_length(export_hash) = 32),
    begun_at    timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz
);

-- As before, but for the events of a principal that this very transaction erases.
CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND TG_TABLE_NAME = 'events' THEN
        IF EXISTS (
            SELECT FROM erasures e
            WHERE e.erased_at = now() AND e.xmin = pg_current_xact_id()::xid
        ) THEN
            RETURN NULL;
        END IF;
    END IF;
    RAISE EXCEPTION 'the log is append-only: % on % is refused', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation';
END
$$;

-- What is left of a document when all goes but the places in `kept`: a node of `aevon_core::erasure`.
-- What a rule reads of one place may depend on what stands around it, so arrays stay as long as they
-- are, and what stands in the way to a place that is kept stays of its kind.
CREATE FUNCTION blanked(document jsonb, kept jsonb) RETURNS jsonb LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    inside jsonb := coalesce(kept -> 'in', '{}');
BEGIN
    IF coalesce((kept ->> 'all')::boolean, false) THEN
        RETURN document;
    END IF;
    CASE jsonb_typeof(document)
        WHEN 'object' THEN
            RETURN coalesce((
                SELECT jsonb_object_agg(m.key, blanked(m.value, inside -> m.key))
                FROM jsonb_each(document) m
                WHERE inside ? m.key
            ), '{}');
        WHEN 'array' THEN
            RETURN coalesce((
                SELECT jsonb_agg(CASE
                    WHEN inside ? (i.place - 1)::text THEN blanked(i.value, inside -> (i.place - 1)::text)
                    ELSE '0' END ORDER BY i.place)
                FROM jsonb_array_elements(document) WITH ORDINALITY AS i (value, place)
            ), '[]');
        WHEN 'string' THEN
            IF coalesce((kept ->> 'scalar')::boolean, false)
               -- A number in quotes is read as one.
               OR coalesce((kept ->> 'number')::boolean, false)
                  AND document #>> '{}' ~ '^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?$' THEN
                RETURN document;
            END IF;
            RETURN '""';
        WHEN 'number' THEN
            RETURN CASE WHEN coalesce(kept ->> 'scalar', kept ->> 'number', 'false')::boolean
                        THEN document ELSE '0' END;
        WHEN 'boolean' THEN
            RETURN CASE WHEN coalesce(kept ->> 'scalar', 'false')::boolean THEN document ELSE 'true' END;
        ELSE
            RETURN 'null';
    END CASE;
END
$$;

-- Erases a principal: its events get ids that say nothing, and lose all but what is `kept`, by type;
-- its identifier becomes the pseudonym, which lives in the same partition; what was rejected goes; the
-- erasure is noted. In one transaction, in steps: all but the last blank what stands up to a position that
-- the caller has looked at, and lock nothing that others wait for; the last, which has none, all that came
-- since, for which it keeps writers out.
CREATE FUNCTION erase_principal(
    of_tenant text, of_principal text, its_partition integer, new_name text, kept jsonb,
    rejected_nos bigint[], is_forced boolean, up_to bigint
) RETURNS erasures LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    its_no bigint := (
        SELECT p.principal_no FROM principals p
        WHERE p.tenant_id = of_tenant AND p.principal_id = of_principal AND p.partition = its_partition
    );
    is_last CONSTANT boolean := up_to IS NULL;
    entry erasures;
    head bigint;
    changed bigint;
BEGIN
    -- Whatever was granted to whom, as a dump that is put back elsewhere may lose that.
    IF NOT pg_has_role(session_user, current_user, 'MEMBER') THEN
        RAISE EXCEPTION 'only the owner of the log may erase' USING ERRCODE = 'insufficient_privilege';
    END IF;
    SELECT * INTO entry FROM erasures e
    WHERE e.erased_at = now() AND e.xmin = pg_current_xact_id()::xid
      AND e.tenant_id = of_tenant AND e.pseudonym IS NOT DISTINCT FROM CASE WHEN its_no IS NOT NULL THEN new_name END;
    IF NOT FOUND THEN
        INSERT INTO erasures (tenant_id, pseudonym, is_forced)
        VALUES (of_tenant, CASE WHEN its_no IS NOT NULL THEN new_name END, erase_principal.is_forced)
        RETURNING * INTO entry;
    END IF;
    IF is_last THEN
        PERFORM FROM partitions p WHERE p.partition = its_partition FOR UPDATE;
    END IF;
    head := least(up_to, (
        SELECT e.seq FROM events e
        WHERE e.principal_no = its_no AND e.partition = its_partition
        ORDER BY e.principal_no DESC, e.seq DESC LIMIT 1
    ));
    UPDATE events e
    SET event_id = new_name || '-' || e.seq,
        data = CASE e.type
            WHEN 'aevon.void' THEN coalesce((
                SELECT jsonb_build_object('event_id', new_name || '-' || w.target_seq)
                FROM voids w WHERE w.partition = its_partition AND w.void_seq = e.seq
            ), '{}')
            ELSE blanked(e.data, kept -> e.type -> 'data') END,
        -- Marks of Aevon's own say nothing of anybody.
        metadata = blanked(e.metadata, kept -> e.type -> 'metadata') || coalesce((
            SELECT jsonb_object_agg(m.key, m.value)
            FROM jsonb_each(e.metadata) m WHERE starts_with(m.key, 'aevon.')
        ), '{}')
    WHERE e.principal_no = its_no AND e.partition = its_partition
      AND e.seq > entry.last_seq AND e.seq <= head;
    GET DIAGNOSTICS changed = ROW_COUNT;
    entry.events := entry.events + changed;
    entry.last_seq := greatest(entry.last_seq, head);
    IF is_last THEN
        UPDATE principals p SET principal_id = new_name
        WHERE p.principal_no = its_no AND p.partition = its_partition;
        -- Whoever keeps the old name's number looks again.
        UPDATE partitions p SET erasures = p.erasures + 1
        WHERE its_no IS NOT NULL AND p.partition = its_partition;
        DELETE FROM rejected_events r WHERE r.rejected_no = ANY (rejected_nos) AND r.tenant_id = of_tenant;
        GET DIAGNOSTICS changed = ROW_COUNT;
        entry.rejected := changed;
    END IF;
    UPDATE erasures e SET events = entry.events, rejected = entry.rejected, last_seq = entry.last_seq
    WHERE e.erasure_no = entry.erasure_no;
    RETURN entry;
END
$$;

-- Nobody but the owner; and whatever the caller's search path is, these tables are meant.
REVOKE ALL ON FUNCTION erase_principal, blanked FROM PUBLIC;
DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION erase_principal SET search_path = pg_catalog, %I, pg_temp', current_schema());
END
$$;
