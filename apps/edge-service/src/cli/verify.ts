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
import type { CentralRecord } from '../read-models/central-record.js';
import type { TableFinding } from '../read-models/hash-mirror.js';
import type { Held } from '../read-models/held-state.js';
import { type CentralComparison, type MirrorVerification, verifyMirror } from '../read-models/verify-mirror.js';
import { findCentralRecord } from './central-record.js';

/** `waypost verify`: whether an edge database holds what its device says it holds. Reads only. */
export async function verify(context: CommandContext): Promise<Answer> {
  await context.database.mustBe('edge');
  const verification = await verifyMirror(context.database, (held) => askCentral(context, held));
  return { data: verification, text: textOf(context, verification), exitCode: verification.ok ? ExitCode.ok : ExitCode.finding };
}

async function askCentral(context: CommandContext, held: Held): Promise<CentralRecord | undefined> {
  const mac = held.manifest?.device.mac ?? context.env['DEVICE_MAC'];
  if (mac === undefined) return undefined;
  return findCentralRecord(context, held.manifestId, context.mac(mac));
}

function textOf(context: CommandContext, verification: MirrorVerification): string {
  const { paint } = context;
  const { ok, mac, manifestId, epoch, sequence, verifiedAt, drifted, tables, typeDifferences, central, durationMs } = verification;
  const rows = tables.reduce((sum, { actual }) => sum + (actual?.rowCount ?? 0), 0);
  const verdict = ok
    ? `${paint('good', 'OK')}  ${plural(tables.length, 'table')}, ${plural(rows, 'row')}: the database holds what its manifest says.`
    : `${paint('bad', 'DRIFT')}  ${[...drifted, ...(typeDifferences.length > 0 ? ['types'] : []), ...(central.differences.length > 0 ? ['central’s record'] : [])].join(', ')}`;
  const next = [
    ...(drifted.length > 0 || typeDifferences.length > 0
      ? [
          "    → repair: curl -X POST http://<edge>:8081/api/sync/now -H 'content-type: application/json' -d '{\"verify\": true}'",
          '    → then find out what wrote to the tables: only Waypost should.',
        ]
      : []),
    ...(central.differences.length > 0
      ? ['    → the device’s own record is not what central issued: let it sync, and look for who wrote to schema waypost.']
      : []),
  ];
  return [
    verdict,
    ...next,
    '',
    renderFacts(
      [
        ['device', mac],
        ['database', context.database.address],
        ['manifest', `${manifestId}, sequence ${sequence} of epoch ${epoch}`],
        ['last verified', `${formatTime(verifiedAt)}, ${formatSpan(Date.now() - Date.parse(verifiedAt))} ago by the device`],
        ['central', centralLine(central)],
        ['took', formatSpan(durationMs)],
      ],
      paint,
    ),
    '',
    tableOfFindings(context, tables),
    ...[...tables.flatMap(({ differences }) => differences), ...typeDifferences, ...central.differences].map(
      (line) => `  ${paint('bad', '✗')} ${line}`,
    ),
  ].join('\n');
}

function centralLine({ asked, source, found, reason, differences }: CentralComparison): string {
  if (!asked) return 'not asked: give --central-url or --central-database-url';
  if (!found) return `${source} cannot say: ${reason}`;
  return `${source} issued ${differences.length === 0 ? 'this very manifest' : 'another manifest under this id'}`;
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
