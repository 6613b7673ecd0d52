import { RANDOM_BYTES } from '../database/random-bytes.sql.js';

export { READ_FLEET } from '../identity/identity.sql.js';

/** A change of the keys, by central or a command, waits for the one before. Reading does not wait. */
export const LOCK_TRUST = 'LOCK TABLE waypost.trust_documents IN SHARE ROW EXCLUSIVE MODE';

export const READ_LATEST_TRUST = `
  SELECT document AS signed, created_at AS "createdAt", created_by AS "createdBy" FROM waypost.trust_documents ORDER BY version DESC LIMIT 1`;

/** $1: version. */
export const READ_TRUST = 'SELECT document AS signed FROM waypost.trust_documents WHERE version = $1';

/** The newest first. */
export const LIST_TRUST = `
  SELECT document AS signed, created_at AS "createdAt", created_by AS "createdBy" FROM waypost.trust_documents ORDER BY version DESC LIMIT $1`;

/** $1: version, $2: document with signatures, $3: by. */
export const ADD_TRUST = 'INSERT INTO waypost.trust_documents (version, document, created_by) VALUES ($1, $2, $3)';

export const READ_SIGNING_KEYS = 'SELECT id::text, use, seed FROM waypost.signing_keys ORDER BY id DESC';

/** Its bytes come from the server's strong random source, and are in no statement. $1: use. */
export const MAKE_SIGNING_KEY = `
  INSERT INTO waypost.signing_keys (use, seed)
  SELECT $1, ${RANDOM_BYTES}
  RETURNING id::text, use, seed`;

/** $1: ids. */
export const DELETE_SIGNING_KEYS = 'DELETE FROM waypost.signing_keys WHERE id = ANY ($1::bigint[])';

/** Those that sign checkpoints of the ledger, and those that did; the newest first. */
export const READ_LEDGER_KEYS = `
  SELECT seed, (SELECT value FROM waypost.central_state WHERE key = 'fleet') AS fleet FROM waypost.ledger_keys ORDER BY id DESC`;

/** As the process that appends does: none signs with the key before once this transaction has committed. */
export const LOCK_LEDGER = 'SELECT FROM waypost.ledger_head FOR UPDATE';

export const MAKE_LEDGER_KEY = `INSERT INTO waypost.ledger_keys (seed) SELECT ${RANDOM_BYTES}`;

export const READ_LAST_CHECKPOINT = 'SELECT size::float8 AS size, root FROM waypost.ledger_checkpoints ORDER BY size DESC LIMIT 1';

export const ENSURE_LEDGER_KEY = `${MAKE_LEDGER_KEY} WHERE NOT EXISTS (SELECT FROM waypost.ledger_keys)`;

/** $1: size, $2: note. */
export const STORE_NOTE = 'UPDATE waypost.ledger_checkpoints SET note = $2 WHERE size = $1';
