import { type Answer, type CommandContext, ExitCode, formatTime, plural, printable } from '@waypost/command-line';
import { queryOn, removeTriggers, withClient, withTransaction } from '@waypost/runtime';
import type pg from 'pg';
import { captureFor, type Coverage, describeCapture } from '../capture/capture.js';
import { type CaptureFinding, clearCaptureFinding } from '../capture/findings.js';
import type { CanaryState } from '../maintenance/canary-states.js';
import { type CaptureFindings, readCaptureFindings } from '../read-models/capture-findings.js';
import { checkedPlan } from './checked-plan.js';

/** `waypost capture show`: whether every change to what the plan reads is recorded. Exits with 1 when not. */
export async function captureShow(context: CommandContext): Promise<Answer> {
  const coverage = await onPlan(context, describeCapture);
  return answer(context, coverage, await readCaptureFindings(context.database.query));
}

/** `waypost capture install`: triggers on every table that the plan reads, in one transaction that sees each of them record; what is right stays. */
export async function captureInstall(context: CommandContext): Promise<Answer> {
  await context.database.mustBe('central');
  const { notChecked, ...coverage } = await onPlan(context, captureFor);
  const canaries = Object.entries(notChecked).map(([table, reason]) => ({
    table,
    triedAt: new Date(),
    checkedAt: null,
    notChecked: reason,
  }));
  return answer(context, coverage, { findings: [], canaries });
}

/** `waypost capture remove`: takes all triggers away; requests read tables again. */
export async function captureRemove(context: CommandContext): Promise<Answer> {
  const removed = await context.database.run((pool) =>
    withClient(pool, (client) => withTransaction(client, 'READ WRITE', () => removeTriggers(client))),
  );
  const text =
    removed.length === 0
      ? 'No table was watched.'
      : `${plural(removed.length, 'table')} no longer watched: ${removed.map(printable).join(', ')}`;
  return { data: { removed }, text, exitCode: ExitCode.ok };
}

/** `waypost capture trust`: ends a table's finding; what was read and issued before counts no more. */
export async function captureTrust(context: CommandContext): Promise<Answer> {
  await context.database.mustBe('central');
  const [table] = context.args as [string];
  const cleared = await context.database.run((pool) =>
    withClient(pool, (client) => withTransaction(client, 'READ WRITE', () => clearCaptureFinding(queryOn(client), table))),
  );
  return {
    data: { table, cleared },
    text: cleared
      ? `Captured changes to ${printable(table)} count again; each device has its tables read once more.`
      : `No finding is open for ${printable(table)}.`,
    exitCode: cleared ? ExitCode.ok : ExitCode.finding,
  };
}

type OnPlan<Found> = (client: pg.ClientBase, plan: Awaited<ReturnType<typeof checkedPlan>>['plan']) => Promise<Found>;

async function onPlan<Found extends Coverage>(context: CommandContext, work: OnPlan<Found>): Promise<Found & { wanted: boolean }> {
  return context.database.run(async (pool) => {
    const { plan } = await checkedPlan(context, pool);
    const coverage = await withClient(pool, (client) => withTransaction(client, 'READ WRITE', () => work(client, plan)));
    return { ...coverage, wanted: plan.file.plan.changes === 'triggers' };
  });
}

function answer(
  context: CommandContext,
  coverage: Coverage & { wanted: boolean },
  { findings, canaries, missingRight }: CaptureFindings,
): Answer {
  const isWhole = coverage.unwatched.length === 0 && coverage.obstacles.length === 0 && findings?.length === 0;
  return {
    data: { whole: isWhole, ...coverage, findings, canaries, ...(missingRight !== undefined && { missingRight }) },
    text: [
      ...(findings ?? []).map((finding) => describeFinding(finding, context.paint)),
      ...describeCoverage(coverage, context.paint),
      ...describeCanaries(canaries ?? []),
      ...(missingRight === undefined
        ? []
        : [
            context.paint(
              'warn',
              `Not shown, for this role may not read it: what central found missing from captured changes. ${missingRight}`,
            ),
          ]),
    ].join('\n'),
    exitCode: isWhole ? ExitCode.ok : ExitCode.finding,
  };
}

function describeFinding({ table, foundAt, foundBy, detail, mac, manifestId }: CaptureFinding, paint: CommandContext['paint']): string {
  const found = `found ${formatTime(foundAt.toISOString())}`;
  const what =
    foundBy === 'canary'
      ? `Writes to ${printable(table)} are not captured: ${found}, ${detail} (docs/runbooks/canary-failed.md).`
      : `A change to ${printable(table)} was not captured: ${found}, manifest ${manifestId} of ${mac} (docs/runbooks/capture-lied.md).`;
  return `${paint('bad', what)} Requests read all tables until: waypost capture trust ${printable(table)}`;
}

function describeCanaries(canaries: readonly CanaryState[]): string[] {
  const tried = canaries.filter(({ checkedAt }) => checkedAt !== null);
  const oldest = Math.min(...tried.map(({ checkedAt }) => (checkedAt as Date).getTime()));
  return [
    ...(tried.length === 0
      ? []
      : [`canary: writes to ${plural(tried.length, 'table')} tried since ${formatTime(new Date(oldest).toISOString())}`]),
    ...canaries
      .filter(({ notChecked }) => notChecked !== null)
      .map(({ table, notChecked }) => `canary: ${printable(table)} not checked: ${printable(notChecked as string)}`),
  ];
}

/** Lines for people: the verdict first, then what stands in the way, then what to do. */
export function describeCoverage(
  { tables, unwatched, reasons, obstacles, wanted }: Coverage & { wanted: boolean },
  paint: CommandContext['paint'],
): string[] {
  const isWhole = unwatched.length === 0 && obstacles.length === 0;
  return [
    isWhole
      ? paint('good', `Every change to the ${plural(tables.length, 'table')} that the plan reads is recorded.`)
      : paint('warn', 'Changes could pass unnoticed: every request reads all tables.'),
    ...obstacles.map((obstacle) => `  ${printable(obstacle)}`),
    ...unwatched.map((table) => `  ${printable(`${table} ${reasons[table]}`)}`),
    `tables: ${tables.map(printable).join(', ')}`,
    ...(wanted ? [] : ['The plan does not ask for it: write `changes: triggers` at its top level.']),
  ];
}
