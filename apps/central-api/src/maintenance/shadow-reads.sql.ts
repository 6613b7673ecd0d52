import { CURRENT_EPOCH, PRUNED_BEFORE } from '../epochs/central-state.sql.js';

/**
 * The manifest, if it is unchanged in the current transaction by the rule that polls are answered by. $1: its id, $2: fingerprint, $3: oids of the
 * tables. Changes that a manifest has not seen are kept while it lives.
 */
export const READ_UNCHANGED = `
  SELECT m.document FROM waypost.manifests m
  WHERE m.manifest_id = $1 AND m.epoch = ${CURRENT_EPOCH} AND m.watch = $2 AND m.expires_at > now()
    AND pg_snapshot_xmin(m.seen) >= coalesce((SELECT value::xid8 FROM waypost.central_state WHERE key = '${PRUNED_BEFORE}'), '0')
    AND NOT EXISTS (SELECT FROM waypost.changes c WHERE c.relation = ANY($3::oid[]) AND c.xid >= pg_snapshot_xmin(m.seen)
                    AND NOT pg_visible_in_snapshot(c.xid, m.seen))`;

/** The table that was compared longest ago comes first. $1: tables of the plan. */
export const READ_OLDEST = `
  SELECT name FROM unnest($1::text[]) WITH ORDINALITY AS t(name, position) LEFT JOIN waypost.shadow_reads r ON r.table_name = name
  ORDER BY r.last_read_at NULLS FIRST, position LIMIT 1`;

/** Tables that were not compared for a day. $1: tables of the plan. */
export const READ_DUE = `
  SELECT name FROM unnest($1::text[]) AS t(name)
  WHERE NOT EXISTS (SELECT FROM waypost.shadow_reads r WHERE r.table_name = name AND r.last_read_at > now() - interval '1 day')`;

/** Some live manifest. $1: fingerprint. */
export const PICK_MANIFEST = `
  SELECT manifest_id AS "manifestId", mac FROM waypost.manifests
  WHERE watch = $1 AND seen IS NOT NULL AND expires_at > now() ORDER BY random() LIMIT 1`;

/** $1: table. */
export const NOTE_COMPARED = `
  INSERT INTO waypost.shadow_reads (table_name) VALUES ($1) ON CONFLICT (table_name) DO UPDATE SET last_read_at = excluded.last_read_at`;

/** $1: table, $2: manifest, $3: MAC, $4: expected and $5: found hash. */
export const NOTE_FINDING = `
  INSERT INTO waypost.shadow_findings (table_name, manifest_id, mac, expected_sha256, found_sha256) VALUES ($1, $2, $3, $4, $5)
  ON CONFLICT (table_name) WHERE cleared_at IS NULL DO NOTHING`;

/** $1: tables of the plan. */
export const READ_SHADOW_STATE = `
  SELECT (SELECT count(*)::int FROM waypost.shadow_findings WHERE cleared_at IS NULL AND found_by = 'shadow read') AS findings,
         (SELECT extract(epoch FROM now() - min(r.last_read_at))::float8 FROM waypost.shadow_reads r WHERE r.table_name = ANY($1::text[])) AS age`;
