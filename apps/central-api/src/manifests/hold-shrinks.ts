import { type Have, type Manifest, WaypostError } from '@waypost/contracts';
import type { EntityManager } from 'typeorm';
import type { CheckedTable } from '../plan/check-plan.js';
import { CLOSE_SHRINKS, HOLD_SHRINKS, READ_HELD } from './hold-shrinks.sql.js';
import type { ManifestContent } from './manifest-content.js';

/** Smaller tables may lose any part: a few rows are a large one. */
const MIN_ROWS = 1000;

/** What is known of a table of a device that was held back, whatever came of it. */
export interface KnownShrink {
  table: string;
  /** The manifest that the device held then. */
  baseId: string;
  rowsNow: number;
  isReleased: boolean;
  isOpen: boolean;
}

/** A device that would replace what it holds. */
interface Losing {
  mac: string;
  have: Have;
  now: ManifestContent;
  known: readonly KnownShrink[];
}

interface Shrink {
  mac: string;
  table: string;
  baseId: string;
  rowsBefore: number;
  rowsNow: number;
}

interface Limits {
  plan: readonly CheckedTable[];
  /** Part of its rows that a table may lose in one step; Infinity for all. */
  maxShrink: number;
}

/**
 * Holds devices back from tables that lost more rows than `maxShrink` allows, or the plan, until an operator consents: that looks like an accident. One
 * statement, and one more where something is held back. Where a table's own parameters differ from before, the device sees other rows on purpose.
 * @returns refusals (SHARE_SHRANK) by MAC
 */
export async function holdShrinks(manager: EntityManager, devices: readonly Losing[], limits: Limits): Promise<Map<string, WaypostError>> {
  if (devices.length === 0 || !limits.plan.some((table) => limitOf(table, limits) < 1)) return new Map();
  const values = [devices.map(({ mac }) => mac), devices.map(({ have }) => have.manifestId)];
  const rows = await manager.query<{ mac: string; document: Manifest }[]>(READ_HELD, values);
  const heldOf = new Map(rows.map(({ mac, document }) => [mac, document]));
  const shrinks = devices.flatMap((device) => {
    const before = heldOf.get(device.mac);
    return before ? findShrinks(device, before, limits).filter((shrink) => !isReleased(shrink, device.known)) : [];
  });
  if (shrinks.length > 0) await manager.query(HOLD_SHRINKS, [JSON.stringify(shrinks)]);
  const refusals = new Map<string, WaypostError>();
  for (const { mac } of shrinks) refusals.set(mac, refusal(shrinks.filter((shrink) => shrink.mac === mac)));
  return refusals;
}

/** These devices get what central has: nothing of theirs is held back any more. */
export async function closeShrinks(manager: EntityManager, macs: readonly string[]): Promise<void> {
  await manager.query(CLOSE_SHRINKS, [macs]);
}

function findShrinks({ mac, now }: Losing, before: Manifest, limits: Limits): Shrink[] {
  const rowsOf = new Map(before.tables.map(({ name, rowCount }) => [name, rowCount]));
  return now.tables.flatMap(({ name, rowCount: rowsNow }, at) => {
    const table = limits.plan[at] as CheckedTable;
    const rowsBefore = rowsOf.get(name) ?? 0;
    const isTooMuch = rowsBefore > MIN_ROWS && rowsBefore - rowsNow > limitOf(table, limits) * rowsBefore;
    if (!isTooMuch || hasMoved(table, before.filters, now.filters)) return [];
    return [{ mac, table: name, baseId: before.manifestId, rowsBefore, rowsNow }];
  });
}

/** Infinity for no limit. */
function limitOf({ maxShrink: own }: CheckedTable, { maxShrink }: Limits): number {
  return own === 'off' ? Infinity : (own ?? maxShrink);
}

/** A parameter that the plan did not have before says nothing of the device. */
function hasMoved({ parameters }: CheckedTable, before: Manifest['filters'], now: Manifest['filters']): boolean {
  return parameters.some((name) => Object.hasOwn(before, name) && before[name] !== now[name]);
}

/** The consent holds for what the device holds, also when the answer was lost on its way; a further fall needs another one. */
function isReleased({ table, baseId, rowsNow }: Shrink, known: readonly KnownShrink[]): boolean {
  return known.some((one) => one.isReleased && one.table === table && one.baseId === baseId && rowsNow >= one.rowsNow);
}

function refusal(shrinks: readonly Shrink[]): WaypostError {
  const losses = shrinks.map(({ table, rowsBefore, rowsNow }) => `${table} went from ${rowsBefore} to ${rowsNow} rows`).join('; ');
  const commands = shrinks.map(({ table, mac }) => `waypost release ${asArgument(table)} --mac ${mac}`).join('; ');
  return new WaypostError('SHARE_SHRANK', {
    detail: `${losses} in one step, more than MAX_SHRINK allows: held back.`,
    hint: `The device keeps what it has. If rows were lost by accident, restore them at central. If they are meant to go: ${commands} (or --all for every device).`,
  });
}

/** As a shell takes it. */
function asArgument(table: string): string {
  return /^[\w.]+$/.test(table) ? table : `'${table.replaceAll("'", `'\\''`)}'`;
}
