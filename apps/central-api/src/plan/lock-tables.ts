import { WaypostError } from '@waypost/contracts';
import { sqlStateOf, SqlState } from '@waypost/runtime';
import type pg from 'pg';
import type { Config } from '../config.js';
import type { CheckedPlan } from './check-plan.js';
import { asAltered } from './read-relations.js';
import type { Member } from '../admission/request-coalescer.js';

/** A session that waits within a transaction for so long waits for a central that hangs: PostgreSQL ends it. */
const IDLE_IN_TRANSACTION_MS = 5 * 60_000;

const deviceLock = (mac: string): string => `hashtextextended('waypost device ' || ${mac}, 0)`;
const LOCK_DEVICE = `SELECT pg_advisory_lock(${deviceLock('$1')})`;
const TRY_LOCK_DEVICES = `
  SELECT mac FROM (SELECT mac, pg_try_advisory_lock(${deviceLock('mac')}) AS locked FROM unnest($1::text[]) AS mac) AS tried WHERE locked`;

/** Node gives up by itself at the same time; this ends what PostgreSQL does meanwhile, such as a sort that has sent nothing yet. */
export async function limitSession(client: pg.ClientBase, { BUILD_TIMEOUT, LOCK_TIMEOUT }: Config): Promise<void> {
  await client.query(
    `SELECT set_config('statement_timeout', $1, false), set_config('idle_in_transaction_session_timeout', $2, false), set_config('lock_timeout', $3, false)`,
    [String(BUILD_TIMEOUT), String(IDLE_IN_TRANSACTION_MS), String(LOCK_TIMEOUT)],
  );
}

/**
 * One request per device at a time, across processes: the order of its manifests is the order of their snapshots.
 * @returns those whose lock is ours; of the others `isAlone` says that they have to wait for theirs
 */
export async function tryLockDevices(client: pg.ClientBase, members: readonly Member[]): Promise<Member[]> {
  const { rows } = await client.query<{ mac: string }>(TRY_LOCK_DEVICES, [members.map(({ mac }) => mac)]);
  const locked = new Set(rows.map(({ mac }) => mac));
  for (const member of members) member.isAlone = !locked.has(member.mac);
  return members.filter(({ isAlone }) => !isAlone);
}

/**
 * As tryLockDevices, for one that waits.
 * @throws WaypostError CENTRAL_BUSY after BUILD_QUEUE_TIMEOUT
 */
export async function lockDevice(client: pg.ClientBase, mac: string, { BUILD_QUEUE_TIMEOUT, LOCK_TIMEOUT }: Config): Promise<void> {
  await client.query(`SET lock_timeout = ${BUILD_QUEUE_TIMEOUT}`);
  try {
    await client.query(LOCK_DEVICE, [mac]);
  } catch (error) {
    if (sqlStateOf(error) !== SqlState.lockNotAvailable) throw error;
    throw deviceBusy(mac, error);
  }
  await client.query(`SET lock_timeout = ${LOCK_TIMEOUT}`);
}

/**
 * All that is read, before the transaction has its snapshot: whoever truncates or rewrites a table after that would leave it empty for an older
 * snapshot, and the manifest would be of a state that never was. Only ACCESS EXCLUSIVE waits for this lock; readers and writers do not.
 */
export async function lockTables(client: pg.ClientBase, { reads }: Pick<CheckedPlan, 'reads'>): Promise<void> {
  if (reads.length > 0) await client.query(`LOCK TABLE ${reads.join(', ')} IN ACCESS SHARE MODE`).catch(asAltered);
}

/** Materialized views whose rows the transaction's snapshot may see otherwise than the catalog has them now. $1: schemas, $2: names. */
const REFRESHED_SINCE = `
  SELECT FROM unnest($1::text[], $2::text[]) AS wanted(schema, name)
  LEFT JOIN (pg_namespace n JOIN pg_class c ON c.relnamespace = n.oid) ON n.nspname = wanted.schema AND c.relname = wanted.name
  WHERE c.oid IS NULL OR c.relfilenode IS DISTINCT FROM pg_relation_filenode(c.oid)
     OR CASE WHEN has_schema_privilege(n.oid, 'USAGE') THEN c.oid IS DISTINCT FROM to_regclass(format('%I.%I', wanted.schema, wanted.name))::oid END`;

/**
 * Locks materialized views, which LOCK TABLE does not take, by reading none of their rows, in the transaction under way. That takes the snapshot first:
 * a refresh in between leaves the snapshot with rows of another moment, or none. The catalog as the snapshot sees it tells so, beside the catalog as it is.
 * @returns false then: the transaction must start over
 */
export async function lockMaterializedViews(client: pg.ClientBase, { materialized }: CheckedPlan): Promise<boolean> {
  if (materialized.length === 0) return true;
  const named = [...new Set(materialized.map(({ readBy }) => readBy))];
  await client.query(named.map((name) => `SELECT FROM ${name} WHERE false`).join('; ')).catch(asAltered);
  const { rows } = await client.query(REFRESHED_SINCE, [materialized.map(({ schema }) => schema), materialized.map(({ name }) => name)]);
  return rows.length === 0;
}

export function deviceBusy(mac: string, cause?: unknown): WaypostError {
  return new WaypostError('CENTRAL_BUSY', {
    detail: `Another request of ${mac} is being answered.`,
    hint: 'The device asks again by itself. If this lasts, look for two devices with one MAC address.',
    cause,
  });
}
