import {
  type Answer,
  type Cell,
  type CommandContext,
  ExitCode,
  formatBytes,
  formatDelta,
  formatTime,
  plural,
  shortHash,
} from '@waypost/command-line';
import type { Manifest, ManifestTable } from '@waypost/contracts';
import { type ChunkDifference, compareChunks } from './compare-chunks.js';
import { selectManifest } from './select-manifest.js';

type Change = 'added' | 'removed' | 'changed' | 'unchanged';

interface TableDifference {
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

/** `waypost diff`: what a device would have to do to come from one manifest to the other. */
export async function diff(context: CommandContext): Promise<Answer> {
  await context.database.mustBe('central');
  const [fromText, toText] = context.args as [string, string];
  const [from, to] = [await selectManifest(context, fromText), await selectManifest(context, toText)];
  const tables = compare(from, to);
  for (const table of tables) {
    const [before, after] = [tableOf(from, table.name), tableOf(to, table.name)];
    if (table.change === 'changed' && before && after) table.chunks = await compareChunks(context.database, before, after);
  }
  const parameters = changedParameters(from, to);
  const equal = tables.every(({ change }) => change === 'unchanged') && parameters.length === 0;
  return {
    data: {
      equal,
      from: headOf(from),
      to: headOf(to),
      filters: Object.fromEntries(parameters.map(({ name, before, after }) => [name, { from: before, to: after }])),
      tables,
    },
    text: textOf(context, from, to, tables, parameters),
    exitCode: !equal && context.flag('exitCode') ? ExitCode.finding : ExitCode.ok,
  };
}

function compare(from: Manifest, to: Manifest): TableDifference[] {
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

function changedParameters(from: Manifest, to: Manifest) {
  const names = [...new Set([...Object.keys(from.filters), ...Object.keys(to.filters)])];
  return names
    .map((name) => ({ name, before: from.filters[name] ?? null, after: to.filters[name] ?? null }))
    .filter(({ before, after }) => before !== after);
}

function textOf(
  context: CommandContext,
  from: Manifest,
  to: Manifest,
  tables: readonly TableDifference[],
  parameters: ReturnType<typeof changedParameters>,
): string {
  const { paint } = context;
  const differing = tables.filter(({ change }) => change !== 'unchanged');
  const head = [from, to].map(
    ({ manifestId, device, sequence, generatedAt }) => `${manifestId}  ${device.mac}  sequence ${sequence}  ${formatTime(generatedAt)}`,
  );
  const verdict =
    differing.length === 0
      ? paint('good', `No table differs (${plural(tables.length, 'table')}).`)
      : `${plural(differing.length, 'table')} of ${tables.length} ${differing.length === 1 ? 'differs' : 'differ'}.`;
  return [
    `${paint('bad', '-')} ${head[0]}`,
    `${paint('good', '+')} ${head[1]}`,
    verdict,
    ...(from.epoch === to.epoch ? [] : [paint('warn', 'They are of different epochs: central was restored or replaced in between.')]),
    ...parameters.map(({ name, before, after }) => `Parameter ${name}: ${before ?? 'NULL'} → ${after ?? 'NULL'}`),
    ...(differing.length === 0 ? [] : ['', tableOfDifferences(context, differing)]),
    ...(differing.some(({ change, chunks }) => change === 'changed' && !chunks)
      ? ['', paint('dim', 'Chunks: the snapshot store no longer holds both sides of each table (SNAPSHOT_RETENTION).')]
      : []),
  ].join('\n');
}

function tableOfDifferences(context: CommandContext, tables: readonly TableDifference[]): string {
  const tones = { added: 'good', removed: 'bad', changed: 'warn', unchanged: 'dim' } as const;
  return context.table(
    [
      { title: 'table' },
      { title: 'change' },
      { title: 'rows', align: 'right' },
      { title: 'delta', align: 'right' },
      { title: 'sha256' },
      { title: 'chunks differing' },
      { title: 'rows in them', align: 'right' },
      { title: 'bytes', align: 'right' },
    ],
    tables.map(({ name, change, from, to, rowDelta, shape, chunks }): Cell[] => [
      name,
      { text: shape.length > 0 ? `${change}: ${shape.join(', ')}` : change, tone: tones[change] },
      to?.rowCount ?? 0,
      formatDelta(rowDelta),
      `${from ? shortHash(from.sha256) : '-'} → ${to ? shortHash(to.sha256) : '-'}`,
      chunks && `${chunks.removedChunks} → ${chunks.addedChunks} of ${chunks.sharedChunks + chunks.addedChunks}`,
      chunks && chunks.addedRows,
      chunks && formatBytes(chunks.addedBytes),
    ]),
  );
}

function headOf({ manifestId, device, epoch, sequence, generatedAt, sha256 }: Manifest): object {
  return { manifestId, mac: device.mac, epoch, sequence, generatedAt, sha256 };
}

function tableOf({ tables }: Manifest, name: string): ManifestTable | undefined {
  return tables.find((table) => table.name === name);
}

function sideOf({ rowCount, sha256, rawBytes }: ManifestTable): Side {
  return { rowCount, sha256, rawBytes };
}
