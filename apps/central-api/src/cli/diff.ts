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
import { findManifest } from '../read-models/find-manifest.js';
import { compareManifests, type ManifestDifference, type TableDifference } from '../read-models/manifest-difference.js';

/** `waypost diff`: what a device would have to do to come from one manifest to the other. */
export async function diff(context: CommandContext): Promise<Answer> {
  await context.database.mustBe('central');
  const { query } = context.database;
  const [from, to] = context.args as [string, string];
  const difference = await compareManifests(query, await findManifest(query, from), await findManifest(query, to));
  return {
    data: difference,
    text: textOf(context, difference),
    exitCode: !difference.equal && context.flag('exitCode') ? ExitCode.finding : ExitCode.ok,
  };
}

function textOf(context: CommandContext, { from, to, filters, tables }: ManifestDifference): string {
  const { paint } = context;
  const differing = tables.filter(({ change }) => change !== 'unchanged');
  const head = [from, to].map(
    ({ manifestId, mac, sequence, generatedAt }) => `${manifestId}  ${mac}  sequence ${sequence}  ${formatTime(generatedAt)}`,
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
    ...Object.entries(filters).map(([name, { from, to }]) => `Parameter ${name}: ${from ?? 'NULL'} → ${to ?? 'NULL'}`),
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
      { title: 'uncompressed', align: 'right' },
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
