import type { Manifest, ManifestTable } from '@waypost/contracts';
import type { Query } from '@waypost/runtime';
import { type ChunkDifference, compareChunks } from './compare-chunks.js';

type Change = 'added' | 'removed' | 'changed' | 'unchanged';

export interface TableDifference {
  name: string;
  change: Change;
  from: Side | null;
  to: Side | null;
  rowDelta: number;
  /** What else than rows differs: format, columns, key. */
  shape: string[];
  /** Null where the store does not hold both sides. */
  chunks: ChunkDifference | null;
}

type Side = Pick<ManifestTable, 'rowCount' | 'sha256' | 'rawBytes'>;

/** Of the scope. */
interface ParameterDifference {
  from: string | null;
  to: string | null;
}

type ManifestHead = Pick<Manifest, 'manifestId' | 'epoch' | 'sequence' | 'generatedAt' | 'sha256'> & { mac: string };

/** What a device would have to do to come from one manifest to the other. */
export interface ManifestDifference {
  equal: boolean;
  from: ManifestHead;
  to: ManifestHead;
  /** Parameters that differ. */
  filters: Record<string, ParameterDifference>;
  tables: TableDifference[];
}

export async function compareManifests(query: Query, from: Manifest, to: Manifest): Promise<ManifestDifference> {
  const tables = compareTables(from, to);
  for (const table of tables) {
    const [before, after] = [tableOf(from, table.name), tableOf(to, table.name)];
    if (table.change === 'changed' && before && after) table.chunks = await compareChunks(query, before, after);
  }
  const filters = compareParameters(from, to);
  const equal = tables.every(({ change }) => change === 'unchanged') && Object.keys(filters).length === 0;
  return { equal, from: headOf(from), to: headOf(to), filters, tables };
}

function compareTables(from: Manifest, to: Manifest): TableDifference[] {
  const names = [...new Set([...to.tables, ...from.tables].map(({ name }) => name))];
  return names.map((name) => {
    const [before, after] = [tableOf(from, name), tableOf(to, name)];
    const shape = before && after ? changedShape(before, after) : [];
    const same = before?.sha256 === after?.sha256 && shape.length === 0;
    return {
      name,
      change: !before ? 'added' : !after ? 'removed' : same ? 'unchanged' : 'changed',
      from: before ? sideOf(before) : null,
      to: after ? sideOf(after) : null,
      rowDelta: (after?.rowCount ?? 0) - (before?.rowCount ?? 0),
      shape,
      chunks: null,
    };
  });
}

function changedShape(before: ManifestTable, after: ManifestTable): string[] {
  const columns = ({ columns }: ManifestTable): string => JSON.stringify(columns.map(({ name, type, notNull }) => [name, type, notNull]));
  return [
    ...(before.format === after.format ? [] : ['format']),
    ...(columns(before) === columns(after) ? [] : ['columns']),
    ...(before.key.join('\0') === after.key.join('\0') ? [] : ['key']),
  ];
}

function compareParameters(from: Manifest, to: Manifest): Record<string, ParameterDifference> {
  const names = [...new Set([...Object.keys(from.filters), ...Object.keys(to.filters)])];
  return Object.fromEntries(
    names
      .map((name) => [name, { from: from.filters[name] ?? null, to: to.filters[name] ?? null }] as const)
      .filter(([, difference]) => difference.from !== difference.to),
  );
}

function headOf({ manifestId, device, epoch, sequence, generatedAt, sha256 }: Manifest): ManifestHead {
  return { manifestId, mac: device.mac, epoch, sequence, generatedAt, sha256 };
}

function tableOf({ tables }: Manifest, name: string): ManifestTable | undefined {
  return tables.find((table) => table.name === name);
}

function sideOf({ rowCount, sha256, rawBytes }: ManifestTable): Side {
  return { rowCount, sha256, rawBytes };
}
