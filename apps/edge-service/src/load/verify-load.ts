import { type ManifestTable, parseTableName, quoteTable, type TableShape, WaypostError } from '@waypost/contracts';
import type pg from 'pg';
import { tablesWithRetainedRows } from '../state/retained-rows.js';
import { hashRuns, hashTable, matches, mismatch, type TableFacts, type VerifiedTable } from '../verify/verify-table.js';
import type { LoadMode } from './choose-load-modes.js';
import type { Mirror } from './mirror-inspector.js';
import { lockWritersStatement } from './load-table.js';
import type { LoadOrder } from './load-order.js';
import { ChangesUnproven, type StagedChanges } from './stage-changes.js';
import type { SideEffect, WriteLedger } from './write-ledger.js';

interface Loaded {
  tables: Mirror['tables'];
  modes: ReadonlyMap<string, LoadMode>;
  ledger: WriteLedger;
  /** What was staged of tables of which only the changes came. */
  staged: ReadonlyMap<string, StagedChanges>;
  /** The tables that were loaded. */
  loaded: readonly TableShape[];
  /** All tables of the manifest. */
  manifest: readonly ManifestTable[];
  /** Tables of the device's own that triggers may write to, by quoteTable. */
  allowed: ReadonlySet<string>;
  step: LoadOrder['step'];
}

/**
 * Proves, before COMMIT, that the loaded tables hold what the manifest says and that nothing else was changed: a table of the device's own has no write, and a
 * mirrored table that something else wrote to is read again, too, whether it was to be loaded or not. Of a table of which only changes came, the key ranges
 * that they lie in are read; no other row can have been written.
 * @returns by table name
 * @throws WaypostError SIDE_EFFECT that names the table, and what can have written to it; VERIFICATION_FAILED
 */
export async function verifyLoad(client: pg.ClientBase, load: Loaded): Promise<Map<string, VerifiedTable>> {
  const { manifest, loaded, tables, step } = load;
  const effects = await load.ledger.findSideEffects();
  const names = new Map([...tables].map(([name, { oid }]) => [oid, name]));
  const withRetained = await tablesWithRetainedRows(client);
  const affected = new Map<string, SideEffect>();
  for (const effect of effects) {
    const name = names.get(effect.oid);
    if (name === undefined && load.allowed.has(quoteTable(parseTableName(effect.name)))) continue;
    // No hash covers rows of the device's own, nor retained ones.
    if (name === undefined || withRetained.has(name)) throw await sideEffect(load, effect);
    affected.set(name, effect);
  }
  const verified = manifest.filter(({ name }) => affected.has(name) || loaded.some((table) => table.name === name));
  const result = new Map<string, VerifiedTable>();
  for (const table of verified) {
    const facts = { table: table.name, rowCount: table.rowCount, sha256: table.sha256 };
    const effect = affected.get(table.name);
    const reading = { hasRetained: withRetained.has(table.name), merged: load.modes.get(table.name) === 'merge' || effect !== undefined };
    await step('verify', facts, async () => {
      // Tables that were to be loaded are locked already.
      if (effect) await client.query(lockWritersStatement([table], tables));
      const staged = effect ? undefined : load.staged.get(table.name);
      const held = staged ? await hashChanges(client, staged) : await hashTable(client, table, tables.get(table.name)!, reading);
      if (effect && !matches(held, table)) throw await sideEffect(load, effect);
      if (!matches(held, table)) {
        const error = await explainMismatch(load, held, table);
        throw staged ? new ChangesUnproven(table, staged, error) : error;
      }
      result.set(table.name, held);
    });
  }
  return result;
}

async function hashChanges(client: pg.ClientBase, { source, held, stored, runs, rows }: StagedChanges): Promise<VerifiedTable> {
  const { replaced, ...read } = await hashRuns(client, source, held, runs);
  const rawBytes = replaced.flatMap(({ chunks }) => chunks).reduce((total, { entry }) => total + entry.rawBytes, 0);
  return { ...read, changed: { before: stored, runs: replaced, rows, rawBytes } };
}

/** VERIFICATION_FAILED that names what can have altered the rows. */
async function explainMismatch({ ledger, tables }: Loaded, held: TableFacts, table: ManifestTable): Promise<WaypostError> {
  const causes = await ledger.findTriggers(tables.get(table.name)!.oid);
  const hint = `Everything was rolled back. Rows can have been altered by ${causes.join(', ')}: disable what alters them.`;
  return mismatch(held, table, causes.length === 0 ? undefined : hint);
}

async function sideEffect({ ledger }: Loaded, { oid, name }: SideEffect): Promise<WaypostError> {
  const causes = await ledger.findCauses(oid);
  const detail = `Loading the mirror made something else write to ${name}; what can have done it: ${causes.join(', ') || 'nothing that the catalog shows'}.`;
  return new WaypostError('SIDE_EFFECT', { detail });
}
