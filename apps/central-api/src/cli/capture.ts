import { type Answer, type CommandContext, ExitCode, plural, printable } from '@waypost/command-line';
import { withClient, withTransaction } from '@waypost/runtime';
import type pg from 'pg';
import { captureFor, type Coverage, describeCapture, removeCapture } from '../changes/capture.js';
import { checkedPlan } from './plan.js';

/** `waypost capture show`: whether every change to what the plan reads is recorded. Exits with 1 when not. */
export async function captureShow(context: CommandContext): Promise<Answer> {
  return answer(context, await onPlan(context, describeCapture));
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

type OnPlan = (client: pg.ClientBase, plan: Awaited<ReturnType<typeof checkedPlan>>['plan']) => Promise<Coverage>;

async function onPlan(context: CommandContext, work: OnPlan): Promise<Coverage & { wanted: boolean }> {
  return context.database.run(async (pool) => {
    const { plan } = await checkedPlan(context, pool);
    const coverage = await withClient(pool, (client) => withTransaction(client, 'READ WRITE', () => work(client, plan)));
    return { ...coverage, wanted: plan.file.plan.changes === 'triggers' };
  });
}

function answer(context: CommandContext, coverage: Coverage & { wanted: boolean }): Answer {
  const isWhole = coverage.unwatched.length === 0 && coverage.obstacles.length === 0;
  return {
    data: { whole: isWhole, ...coverage },
    text: describeCoverage(coverage, context.paint).join('\n'),
    exitCode: isWhole ? ExitCode.ok : ExitCode.finding,
  };
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
