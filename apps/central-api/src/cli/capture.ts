import { type Answer, type CommandContext, ExitCode, formatTime, plural, printable } from '@waypost/command-line';
import { withClient, withTransaction } from '@waypost/runtime';
import type pg from 'pg';
import { captureFor, type Coverage, describeCapture, removeCapture } from '../changes/capture.js';
import { CLEAR_FINDING, DROP_READS, FORGET_SEEN, READ_FINDINGS } from '../changes/shadow-reads.sql.js';
import { checkedPlan } from './plan.js';

/** `waypost capture show`: whether every change to what the plan reads is recorded. Exits with 1 when not. */
export async function captureShow(context: CommandContext): Promise<Answer> {
  const coverage = await onPlan(context, describeCapture);
  return answer(context, coverage, await readFindings(context));
}

/** `waypost capture install`: triggers on every table that the plan reads, in one transaction; those that are there are replaced. */
export async function captureInstall(context: CommandContext): Promise<Answer> {
  await context.database.mustBe('central');
  return answer(context, await onPlan(context, captureFor));
}

/** `waypost capture remove`: takes all triggers away; requests read tables again. */
export async function captureRemove(context: CommandContext): Promise<Answer> {
  const removed = await context.database.run((pool) =>
    withClient(pool, (client) => withTransaction(client, 'READ WRITE', () => removeCapture(client))),
  );
  const text =
    removed.length === 0
      ? 'No table was watched.'
      : `${plural(removed.length, 'table')} no longer watched: ${removed.map(printable).join(', ')}`;
  return { data: { removed }, text, exitCode: ExitCode.ok };
}

interface Finding {
  table: string;
  foundAt: Date;
  manifestId: string;
  mac: string;
}

/** `waypost capture trust`: ends a table's finding; what was read and issued before counts no more. */
export async function captureTrust(context: CommandContext): Promise<Answer> {
  await context.database.mustBe('central');
  const [table] = context.args as [string];
  const cleared = await context.database.run((pool) =>
    withClient(pool, (client) =>
      withTransaction(client, 'READ WRITE', async () => {
        const { rowCount } = await client.query(CLEAR_FINDING, [table]);
        if (!rowCount) return false;
        await client.query(DROP_READS);
        await client.query(FORGET_SEEN);
        return true;
      }),
    ),
  );
  return {
    data: { table, cleared },
    text: cleared
      ? `Captured changes to ${printable(table)} count again; each device has its tables read once more.`
      : `No finding is open for ${printable(table)}.`,
    exitCode: cleared ? ExitCode.ok : ExitCode.finding,
  };
}

/** Empty before a central with shadow reads ran on this database. */
async function readFindings(context: CommandContext): Promise<Finding[]> {
  const [known] = await context.database.query<{ is: boolean }>("SELECT to_regclass('waypost.shadow_findings') IS NOT NULL AS is");
  return known?.is ? context.database.query<Finding>(READ_FINDINGS) : [];
}

type OnPlan = (client: pg.ClientBase, plan: Awaited<ReturnType<typeof checkedPlan>>['plan']) => Promise<Coverage>;

async function onPlan(context: CommandContext, work: OnPlan): Promise<Coverage & { wanted: boolean }> {
  return context.database.run(async (pool) => {
    const { plan } = await checkedPlan(context, pool);
    const coverage = await withClient(pool, (client) => withTransaction(client, 'READ WRITE', () => work(client, plan)));
    return { ...coverage, wanted: plan.file.plan.changes === 'triggers' };
  });
}

function answer(context: CommandContext, coverage: Coverage & { wanted: boolean }, findings: readonly Finding[] = []): Answer {
  const isWhole = coverage.unwatched.length === 0 && coverage.obstacles.length === 0 && findings.length === 0;
  return {
    data: { whole: isWhole, ...coverage, findings },
    text: [...findings.map((finding) => describeFinding(finding, context.paint)), ...describeCoverage(coverage, context.paint)].join('\n'),
    exitCode: isWhole ? ExitCode.ok : ExitCode.finding,
  };
}

function describeFinding({ table, foundAt, mac, manifestId }: Finding, paint: CommandContext['paint']): string {
  const what = `A change to ${printable(table)} was not captured: found ${formatTime(foundAt.toISOString())}, manifest ${manifestId} of ${mac}.`;
  return `${paint('bad', what)} Requests read all tables until: waypost capture trust ${printable(table)}`;
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
