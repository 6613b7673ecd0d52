import { type Answer, type CommandContext, ExitCode, formatBytes, plural, shortHash } from '@waypost/command-line';
import { WaypostError } from '@waypost/contracts';
import { checkStore, repairStore, type StoreReport } from '../chunk-store/check/check-store.js';
import { ChunkCatalog } from '../chunk-store/chunk-catalog.js';
import { FileBlobStore } from '../chunk-store/blobs/file-blob-store.js';
import { folderOf } from './snapshot-folder.js';

/** Damaged things that are listed for people. */
const SHOWN = 20;

/** `waypost store check`: whether all that the chunk store is said to hold is there. Exits with 1 when not, unless it was repaired. */
export async function storeCheck(context: CommandContext): Promise<Answer> {
  const store = context.option('snapshotStore', 'SNAPSHOT_STORE');
  if (store === undefined) {
    throw new WaypostError('CONFIG_INVALID', {
      detail: 'SNAPSHOT_STORE is not set.',
      hint: 'Set it as central has it: waypost store check --snapshot-store file:./var/snapshots',
    });
  }
  await context.database.mustBe('central');
  const blobs = new FileBlobStore(folderOf(store));
  const report = await checkStore({ query: context.database.query, blobs });
  const isWhole = report.damaged.length === 0 && report.incomplete.length === 0;
  const repaired = !isWhole && context.flag('repair');
  if (repaired) await context.database.run((pool) => repairStore(new ChunkCatalog(pool), report));
  const damaged = report.damaged.map(({ packId, digest, reason }) => ({ packId, chunk: digest?.toString('hex') ?? null, reason }));
  return {
    data: { whole: isWhole, repaired, ...report, damaged },
    text: textOf(context, report, repaired),
    exitCode: isWhole || repaired ? ExitCode.ok : ExitCode.finding,
  };
}

function textOf({ paint }: CommandContext, report: StoreReport, repaired: boolean): string {
  const { damaged, incomplete, packs, chunks, contents, bytes, neededBytes, contentBytes, unknownPacks } = report;
  const faults = [
    ...damaged.map(
      ({ packId, digest, reason }) => `${digest ? `chunk ${shortHash(digest.toString('hex'))} of pack` : 'pack'} ${packId}: ${reason}`,
    ),
    ...incomplete.map(({ sha256, missing }) => `table ${shortHash(sha256)}: ${plural(missing, 'chunk')} missing`),
  ];
  const remedy = repaired
    ? paint('good', 'All of that is forgotten: the next requests that need it build it again.')
    : 'Repair: waypost store check --repair';
  return [
    faults.length === 0
      ? paint('good', 'All of it is there, and as it was written.')
      : paint('bad', `${plural(faults.length, 'thing')} lost or damaged.`),
    ...faults.slice(0, SHOWN).map((fault) => `  ${fault}`),
    ...(faults.length > SHOWN ? [`  and ${faults.length - SHOWN} more (--json has them all)`] : []),
    ...(faults.length === 0 ? [] : [remedy]),
    `${plural(packs, 'pack')}, ${formatBytes(bytes)}: ${plural(chunks, 'chunk')} of ${plural(contents, 'table')}, which would take ${formatBytes(contentBytes)} one by one`,
    `needed: ${formatBytes(neededBytes)}; not any more: ${formatBytes(Math.max(0, bytes - neededBytes))}`,
    ...(unknownPacks === 0 ? [] : [`${plural(unknownPacks, 'pack')} that the database does not know: the next sweep removes them`]),
  ].join('\n');
}
