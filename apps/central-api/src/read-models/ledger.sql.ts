import { ackFacts } from '../ledger/ledger.sql.js';

const ENTRY = `e.leaf::float8 AS index, e.kind, e.device_id AS "deviceId", e.entry`;

/** Entries in order. $1: first leaf, $2: how many at most, $3: device or null, $4: appended since, or null, $5: appended before, or null. */
export const READ_ENTRIES = `
  SELECT ${ENTRY}, e.appended_at AS "appendedAt" FROM waypost.ledger_entries e
  WHERE e.leaf >= $1 AND ($3::text IS NULL OR e.device_id = $3)
    AND ($4::timestamptz IS NULL OR e.appended_at >= $4) AND ($5::timestamptz IS NULL OR e.appended_at < $5)
  ORDER BY e.leaf LIMIT $2`;

/** Keys that a device has or had. $1: device. */
export const READ_DEVICE_KEYS = `
  SELECT thumbprint, public_key AS "publicKey" FROM waypost.device_keys WHERE device_id = $1 AND approved_at IS NOT NULL ORDER BY enrolled_at, thumbprint`;

/** The last checkpoint before a time. $1: time. */
export const CHECKPOINT_BEFORE = `
  SELECT size::float8 AS size, root, note FROM waypost.ledger_checkpoints WHERE made_at < $1 ORDER BY made_at DESC, size DESC LIMIT 1`;

/** All of them; there is one for each hour of the past. */
export const READ_CHECKPOINTS = 'SELECT size::float8 AS size, root, note FROM waypost.ledger_checkpoints ORDER BY size';

/** $1: ids of acks. */
export const READ_ACK_FACTS = `SELECT a.id::float8 AS id, ${ackFacts('a')} AS facts FROM waypost.sync_acknowledgements a WHERE a.id = ANY ($1::bigint[])`;

/** $1: manifests. */
export const READ_AUDITED_MANIFESTS = `
  SELECT m.manifest_id AS "manifestId", m.document,
    (SELECT coalesce(json_object_agg(s.table_name, json_build_array(s.row_count, s.sha256)), '{}') FROM waypost.sync_manifests s WHERE s.manifest_id = m.manifest_id) AS tables
  FROM waypost.manifests m WHERE m.manifest_id = ANY ($1::text[])`;

/** How many polls the audit still has. $1: MACs, $2: hours; an element for each. */
export const COUNT_AUDITED_POLLS = `
  SELECT (SELECT count(*)::int FROM waypost.sync_requests r
          WHERE r.mac = h.mac AND r.requested_at >= h.hour AND r.requested_at < h.hour + interval '1 hour'
            AND r.operation = 'request' AND r.status = 'Issued' AND r.reason = 'unchanged') AS polls
  FROM unnest($1::text[], $2::timestamptz[]) WITH ORDINALITY AS h(mac, hour, at) ORDER BY h.at`;
