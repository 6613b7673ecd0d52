import { RANDOM_BYTES } from '../database/random-bytes.sql.js';

/** Keys that are in force. $1: thumbprints. */
export const FIND_KEYS = `
  SELECT k.thumbprint, k.public_key AS "publicKey", d.id AS "deviceId", d.mac, k.approved_at IS NOT NULL AS "isApproved"
  FROM waypost.device_keys k JOIN waypost.devices d ON d.id = k.device_id
  WHERE k.thumbprint = ANY ($1::text[]) AND k.retired_at IS NULL AND d.revoked_at IS NULL`;

/** Of these MACs, those that are reached with a key alone: their device enrolled once, and was approved. $1: MACs. */
export const FIND_KEYED_MACS = `
  SELECT d.mac FROM waypost.devices d
  WHERE d.mac = ANY ($1::text[])
    AND (d.revoked_at IS NOT NULL OR EXISTS (SELECT FROM waypost.device_keys k WHERE k.device_id = d.id AND k.approved_at IS NOT NULL))`;

export const READ_FLEET = `SELECT value AS fleet FROM waypost.central_state WHERE key = 'fleet'`;

/** How long one key signs tokens, so that a stolen backup is soon worth nothing; and how long all its tokens have ended by then. */
const KEY_LIFE = "interval '7 days'";
const KEY_AND_TOKENS_LIFE = "interval '9 days'";

/** The newest first. */
export const READ_TOKEN_KEYS = `
  SELECT seed, created_at > now() - ${KEY_LIFE} AS "maySign" FROM waypost.token_keys ORDER BY id DESC`;

/** One whose bytes come from the server's strong random source, and are in no statement. Two replicas may make one each. */
export const MAKE_TOKEN_KEY = `
  WITH ended AS (DELETE FROM waypost.token_keys WHERE created_at < now() - ${KEY_AND_TOKENS_LIFE})
  INSERT INTO waypost.token_keys (seed)
  SELECT ${RANDOM_BYTES}
  WHERE NOT EXISTS (SELECT FROM waypost.token_keys WHERE created_at > now() - ${KEY_LIFE})`;

/**
 * Access tokens that are given out: which assertions were used, and when which key was. A key that is used for the first time retires the other keys of its
 * device. What a device repeats of its last renewal tells whether another machine has renewed since: one renewal may be lost on its way, two are not.
 * Gives the assertions that had not been used, and whether an operator wants another key. $1: thumbprints, each once, $2: assertions, $3: what devices repeat, or null, $4: what they get, $5: seconds
 * until an assertion has expired.
 */
export const RENEW = `
  WITH asked AS (
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) AS a(thumbprint, assertion, given, renewal)
  ), ended AS (
    DELETE FROM waypost.used_assertions WHERE expires_at < now()
  ), used AS (
    INSERT INTO waypost.used_assertions (id, expires_at)
    SELECT assertion, now() + $5::int * interval '1 s' FROM asked ON CONFLICT DO NOTHING RETURNING id
  ), renewed AS (
    UPDATE waypost.device_keys k SET
      first_used_at = coalesce(k.first_used_at, now()),
      last_used_at = now(),
      cloned_at = CASE WHEN k.renewal IS NULL OR a.given = k.renewal OR a.given IS NOT DISTINCT FROM k.previous_renewal THEN k.cloned_at ELSE now() END,
      previous_renewal = CASE WHEN a.given IS NOT DISTINCT FROM k.previous_renewal THEN k.previous_renewal ELSE k.renewal END,
      renewal = a.renewal
    FROM asked a JOIN used u ON u.id = a.assertion
    WHERE k.thumbprint = a.thumbprint
    RETURNING k.thumbprint, k.device_id, k.first_used_at = now() AS is_new, k.cloned_at IS NOT DISTINCT FROM now() AS is_cloned,
      (SELECT k.enrolled_at < d.rotate_keys_before FROM waypost.devices d WHERE d.id = k.device_id) AS must_rotate
  ), retired AS (
    UPDATE waypost.device_keys k SET retired_at = now() FROM renewed r
    WHERE r.is_new AND k.device_id = r.device_id AND k.thumbprint <> r.thumbprint AND k.retired_at IS NULL AND k.enrolled_at < (
      SELECT enrolled_at FROM waypost.device_keys n WHERE n.thumbprint = r.thumbprint)
  )
  SELECT a.assertion, r.is_cloned AS "isCloned", coalesce(r.must_rotate, false) AS "mustRotate" FROM renewed r JOIN asked a USING (thumbprint)`;

/** $1: digest. */
export const LOCK_TOKEN = `
  SELECT id::text, device_id AS "deviceId", uses_left AS "usesLeft", needs_approval AS "needsApproval", expires_at > now() AS "isValid"
  FROM waypost.enrollment_tokens WHERE digest = $1 FOR UPDATE`;

const DEVICE = `d.id, d.mac, d.name, d.revoked_at IS NOT NULL AS "isRevoked"`;

/** $1: thumbprint. */
export const FIND_ENROLLED_KEY = `
  SELECT k.enrolled_with::text AS "tokenId", k.approved_at IS NOT NULL AS "isApproved", k.retired_at IS NOT NULL AS "isRetired", ${DEVICE}
  FROM waypost.device_keys k JOIN waypost.devices d ON d.id = k.device_id WHERE k.thumbprint = $1`;

/** A key that replaces another. $1: thumbprint, $2: key, $3: thumbprint of the other. */
export const ADD_SUCCESSOR = `
  INSERT INTO waypost.device_keys (thumbprint, device_id, public_key, enrolled_with, approved_at)
  SELECT $1, device_id, $2, enrolled_with, approved_at FROM waypost.device_keys WHERE thumbprint = $3 AND retired_at IS NULL RETURNING device_id`;

/** $1: id, or null; $2: MAC. */
export const LOCK_DEVICES = `
  SELECT ${DEVICE}, EXISTS (SELECT FROM waypost.device_keys k WHERE k.device_id = d.id) AS "hasKeys"
  FROM waypost.devices d WHERE d.id = $1 OR d.mac = $2 FOR UPDATE`;

/** $1: id, $2: MAC, $3: by. */
export const ADD_DEVICE = `INSERT INTO waypost.devices (id, mac, created_by) VALUES ($1, $2, $3)`;

/** A device that enrolls again is not revoked any more: an operator gave it the token. $1: id, $2: MAC. */
export const ADMIT_DEVICE = `UPDATE waypost.devices SET mac = $2, revoked_at = NULL WHERE id = $1`;

/** $1: thumbprint, $2: device, $3: key, $4: token, $5: whether it needs approval. */
export const ADD_KEY = `
  WITH used AS (UPDATE waypost.enrollment_tokens SET uses_left = uses_left - 1 WHERE id = $4)
  INSERT INTO waypost.device_keys (thumbprint, device_id, public_key, enrolled_with, approved_at)
  VALUES ($1, $2, $3, $4, CASE WHEN NOT $5::boolean THEN now() END)`;

/** How long one key signs certificates of devices; and how long all of them have ended by then. */
const AUTHORITY_LIFE = "interval '1 year'";
const AUTHORITY_AND_CERTIFICATES_LIFE = "interval '1 year 40 days'";

/** The newest first. */
export const READ_DEVICE_AUTHORITIES = `
  SELECT seed, created_at > now() - ${AUTHORITY_LIFE} AS "maySign" FROM waypost.device_authorities ORDER BY id DESC`;

/** As MAKE_TOKEN_KEY. */
export const MAKE_DEVICE_AUTHORITY = `
  WITH ended AS (DELETE FROM waypost.device_authorities WHERE created_at < now() - ${AUTHORITY_AND_CERTIFICATES_LIFE})
  INSERT INTO waypost.device_authorities (seed)
  SELECT ${RANDOM_BYTES}
  WHERE NOT EXISTS (SELECT FROM waypost.device_authorities WHERE created_at > now() - ${AUTHORITY_LIFE})`;

/** $1: thumbprint, $2: when the certificate expires. */
export const NOTE_CERTIFICATE = `UPDATE waypost.device_keys SET certificate_expires_at = $2 WHERE thumbprint = $1`;
