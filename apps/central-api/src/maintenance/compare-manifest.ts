import { createHash } from 'node:crypto';
import { canonicalJson, type Manifest, sha256, WaypostError } from '@waypost/contracts';
import { pinSession, readChunks, withTransaction } from '@waypost/runtime';
import type pg from 'pg';
import type { CheckedPlan } from '../plan/check-plan.js';
import { resolveScope, type Scope } from '../scopes/resolve-scope.js';
import { scopeTables } from '../snapshots/build-snapshot.js';
import { lockTables } from '../plan/lock-tables.js';
import type { ChangeTracker } from '../capture/change-tracker.js';
import { READ_OLDEST, READ_UNCHANGED } from './shadow-reads.sql.js';

/** What to compare. */
export interface ShadowRead {
  mac: string;
  manifestId: string;
  /** In the plan; without it the one that was compared longest ago. */
  table?: string;
}

export interface Comparison {
  /** Of the plan, or SCOPE. */
  table: string;
  expected: string | null;
  found: string | null;
}

/** Stands for a table where the scope query gives something else than the manifest's parameters. */
export const SCOPE = '(scope)';

/**
 * Reads one table of a manifest that captured changes call unchanged, in a transaction of its own that sees both the rows and the changes as of one
 * moment: `expected` and `found` then differ only where a change was not captured.
 * @returns nothing where the manifest is not unchanged, or a definition was altered
 */
export async function compareManifest(
  client: pg.ClientBase,
  { plan, tracker }: { plan: CheckedPlan; tracker: ChangeTracker },
  { mac, manifestId, table }: ShadowRead,
): Promise<Comparison | undefined> {
  const tracked = await tracker.refresh(client);
  if (!tracked) return undefined;
  return withTransaction(client, 'ISOLATION LEVEL REPEATABLE READ READ ONLY', async () => {
    await pinSession(client);
    await lockTables(client, plan);
    if ((await tracker.seenUnder(client, tracked)) === undefined) return undefined;
    const { rows } = await client.query<{ document: Manifest }>(READ_UNCHANGED, [manifestId, tracked.fingerprint, tracked.tables]);
    const manifest = rows[0]?.document;
    if (!manifest) return undefined;
    const scope = await findScope(client, plan, mac);
    const [expectedScope, foundScope] = [canonicalJson(manifest.filters), scope && canonicalJson(Object.fromEntries(scope))];
    if (!scope || expectedScope !== foundScope) return { table: SCOPE, expected: null, found: null };
    const name = table ?? (await oldestTable(client, manifest));
    const listed = manifest.tables.find((one) => one.name === name);
    if (!listed) return undefined;
    return { table: listed.name, expected: listed.sha256, found: await hashTable(client, plan, scope, listed.name) };
  });
}

/** Undefined where the device may see nothing any more. */
async function findScope(client: pg.ClientBase, plan: CheckedPlan, mac: string): Promise<Scope | undefined> {
  return resolveScope(client, plan, mac).catch((error: unknown) => {
    if (error instanceof WaypostError) return undefined;
    throw error;
  });
}

async function oldestTable(client: pg.ClientBase, { tables }: Manifest): Promise<string | undefined> {
  const { rows } = await client.query<{ name: string }>(READ_OLDEST, [tables.map(({ name }) => name)]);
  return rows[0]?.name;
}

/** The hash that a manifest would have for the table now; nothing is stored. */
async function hashTable(client: pg.ClientBase, plan: CheckedPlan, scope: Scope, name: string): Promise<string | null> {
  const { scoped } = await scopeTables(client, { plan, scope });
  const layout = scoped.find(({ table }) => table.name === name);
  if (!layout) return null;
  const hasher = createHash('sha256');
  await readChunks(client, { query: layout.query, layout, onChunk: (bytes) => hasher.update(sha256(bytes)) });
  return hasher.digest('hex');
}
