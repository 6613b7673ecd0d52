import {
  type Answer,
  type Cell,
  type CommandContext,
  ExitCode,
  formatSpan,
  formatTime,
  plural,
  renderFacts,
  shortHash,
} from '@waypost/command-line';
import { type Manifest, WaypostError } from '@waypost/contracts';
import { withClient, withTransaction } from '@waypost/runtime';
import { type CentralRecord, findCentralRecord } from './central-record.js';
import { findHeld, type Held } from './held-manifest.js';
import { hashMirror, type TableFinding } from './hash-mirror.js';

/** What was verified, in one snapshot. */
interface Verified {
  held: Held;
  manifest: Manifest;
  tables: TableFinding[];
  /** User-defined types that differ from the manifest's. */
  types: string[];
}

/** `waypost verify`: whether an edge database holds what its device says it holds. Reads only. */
export async function verify(context: CommandContext): Promise<Answer> {
  const { database } = context;
  await database.mustBe('edge');
  const startedAt = performance.now();
  const expected = await findHeld((sql) => database.query(sql));
  if (!expected) throw neverVerified();
  let central = await askCentral(context, expected);
  const verified = await hashHeld(context, central);
  // The device synced between the two looks.
  if (verified.held.manifestId !== expected.manifestId) central = await askCentral(context, verified.held);
  const centralDifferences = central?.found ? compareWithCentral(verified, central.manifest) : [];
  const drifted = verified.tables.filter(({ state }) => state !== 'ok').map(({ name }) => name);
  const ok = drifted.length === 0 && verified.types.length === 0 && centralDifferences.length === 0;
  const durationMs = Math.round(performance.now() - startedAt);
  return {
    data: dataOf(verified, { central, centralDifferences, drifted, ok, durationMs }),
    text: textOf(context, verified, { central, centralDifferences, drifted, ok, durationMs }),
    exitCode: ok ? ExitCode.ok : ExitCode.finding,
  };
}

async function askCentral(context: CommandContext, held: Held): Promise<CentralRecord | undefined> {
  const mac = held.manifest?.device.mac ?? context.env['DEVICE_MAC'];
  if (mac === undefined) return undefined;
  return findCentralRecord(context, held.manifestId, context.mac(mac));
}

async function hashHeld({ database }: CommandContext, central: CentralRecord | undefined): Promise<Verified> {
  return database.run((pool) =>
    withClient(pool, (client) =>
      withTransaction(client, 'ISOLATION LEVEL REPEATABLE READ READ ONLY', async () => {
        const held = await findHeld(async <Row extends object>(sql: string) => (await client.query<Row>(sql)).rows);
        if (!held) throw neverVerified();
        const fromCentral = central?.found && central.manifest.manifestId === held.manifestId ? central.manifest : undefined;
        const manifest = held.manifest ?? fromCentral;
        if (!manifest) throw manifestNotKept(held);
        return { held, manifest, ...(await hashMirror(client, manifest)) };
      }),
    ),
  );
}

/** What central says otherwise about the manifest that the device holds, by table where it can be told. */
function compareWithCentral({ held, manifest, tables }: Verified, central: Manifest): string[] {
  const differences = central.tables.flatMap(({ name, sha256, rowCount }) => {
    const own = tables.find((table) => table.name === name);
    if (!own) return [`${name} is in central’s manifest, not in the device’s`];
    const same = own.expected.sha256 === sha256 && own.expected.rowCount === rowCount;
    return same
      ? []
      : [
          `${name}: central’s manifest says ${rowCount} rows, sha256 ${sha256}, the device’s ${own.expected.rowCount}, ${own.expected.sha256}`,
        ];
  });
  const additional = manifest.tables.filter(({ name }) => !central.tables.some((table) => table.name === name));
  differences.push(...additional.map(({ name }) => `${name} is in the device’s manifest, not in central’s`));
  if (differences.length === 0 && held.manifestSha256 !== central.sha256) {
    differences.push(`the manifest: central’s has sha256 ${central.sha256}, the device’s ${held.manifestSha256}`);
  }
  return differences;
}

interface Outcome {
  central: CentralRecord | undefined;
  centralDifferences: readonly string[];
  drifted: readonly string[];
  ok: boolean;
  durationMs: number;
}

function dataOf({ held, manifest, tables, types }: Verified, { central, centralDifferences, drifted, ok, durationMs }: Outcome): object {
  return {
    ok,
    mac: manifest.device.mac,
    manifestId: held.manifestId,
    epoch: held.epoch,
    sequence: held.sequence,
    verifiedAt: held.verifiedAt.toISOString(),
    drifted,
    tables: tables.map(({ name, state, expected, actual, keptRows, differences }) => ({
      name,
      state,
      expected,
      actual,
      keptRows,
      differences,
    })),
    typeDifferences: types,
    central: central
      ? {
          asked: true,
          source: central.source,
          found: central.found,
          reason: central.found ? null : central.reason,
          differences: centralDifferences,
        }
      : { asked: false, source: null, found: false, reason: null, differences: [] },
    durationMs,
  };
}

function textOf(context: CommandContext, { held, manifest, tables, types }: Verified, outcome: Outcome): string {
  const { paint } = context;
  const { central, centralDifferences, drifted, ok, durationMs } = outcome;
  const rows = tables.reduce((sum, { actual }) => sum + (actual?.rowCount ?? 0), 0);
  const verdict = ok
    ? `${paint('good', 'OK')}  ${plural(tables.length, 'table')}, ${plural(rows, 'row')}: the database holds what its manifest says.`
    : `${paint('bad', 'DRIFT')}  ${[...drifted, ...(types.length > 0 ? ['types'] : []), ...(centralDifferences.length > 0 ? ['central’s record'] : [])].join(', ')}`;
  const next = [
    ...(drifted.length > 0 || types.length > 0
      ? [
          "    → repair: curl -X POST http://<edge>:8081/api/sync/now -H 'content-type: application/json' -d '{\"verify\": true}'",
          '    → then find out what wrote to the tables: only Waypost should.',
        ]
      : []),
    ...(centralDifferences.length > 0
      ? ['    → the device’s own record is not what central issued: let it sync, and look for who wrote to schema waypost.']
      : []),
  ];
  return [
    verdict,
    ...next,
    '',
    renderFacts(
      [
        ['device', manifest.device.mac],
        ['database', context.database.address],
        ['manifest', `${held.manifestId}, sequence ${held.sequence} of epoch ${held.epoch}`],
        ['last verified', `${formatTime(held.verifiedAt)}, ${formatSpan(Date.now() - held.verifiedAt.getTime())} ago by the device`],
        ['central', centralLine(central, centralDifferences)],
        ['took', formatSpan(durationMs)],
      ],
      paint,
    ),
    '',
    tableOfFindings(context, tables),
    ...[...tables.flatMap(({ differences }) => differences), ...types, ...centralDifferences].map(
      (line) => `  ${paint('bad', '✗')} ${line}`,
    ),
  ].join('\n');
}

function centralLine(central: CentralRecord | undefined, differences: readonly string[]): string {
  if (!central) return 'not asked: give --central-url or --central-database-url';
  if (!central.found) return `${central.source} cannot say: ${central.reason}`;
  return `${central.source} issued ${differences.length === 0 ? 'this very manifest' : 'another manifest under this id'}`;
}

function tableOfFindings(context: CommandContext, tables: readonly TableFinding[]): string {
  return context.table(
    [
      { title: 'table' },
      { title: 'state' },
      { title: 'rows', align: 'right' },
      { title: 'manifest', align: 'right' },
      { title: 'kept', align: 'right' },
      { title: 'sha256' },
      { title: 'manifest' },
    ],
    tables.map(({ name, state, expected, actual, keptRows }): Cell[] => [
      name,
      { text: state, tone: state === 'ok' ? 'good' : 'bad' },
      actual ? actual.rowCount : null,
      expected.rowCount,
      keptRows,
      actual ? shortHash(actual.sha256) : null,
      shortHash(expected.sha256),
    ]),
  );
}

function neverVerified(): WaypostError {
  return new WaypostError('MANIFEST_UNKNOWN', {
    detail: 'This device has never loaded and verified anything: there is nothing to compare with.',
    hint: 'waypost status says why; POST /api/sync/now on the device starts a cycle.',
  });
}

function manifestNotKept({ manifestId }: Held): WaypostError {
  return new WaypostError('MANIFEST_UNKNOWN', {
    detail: `The device’s state was written by an older version, without its manifest ${manifestId}.`,
    hint: 'Give --central-url or --central-database-url (and DEVICE_MAC), or let the device sync once with this version.',
  });
}
