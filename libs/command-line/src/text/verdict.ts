import { type CommandContext } from '../run/command.js';
import { ExitCode } from '../run/exit-codes.js';
import { plural } from './format.js';
import { printable } from './style.js';

/** Something that an operator should know, and what to do about it. */
export interface Finding {
  /** `bad`: look now. `warn`: it heals by itself as a rule; look if it lasts. */
  severity: 'bad' | 'warn';
  what: string;
  next: string;
}

/** The first lines of `waypost status`: whether something is wrong, and what to do next, the worst first. */
export function renderVerdict(context: CommandContext, good: string, findings: readonly Finding[]): string {
  const { paint } = context;
  const sorted = [...findings].sort((a, b) => Number(a.severity === 'warn') - Number(b.severity === 'warn'));
  const isBad = sorted[0]?.severity === 'bad';
  if (sorted.length === 0) return `${paint('good', 'OK')}  ${good}`;
  const head = isBad ? paint('bad', 'WRONG') : paint('warn', 'WATCH');
  const count = `${plural(sorted.length, 'finding')}${isBad ? '' : ', none urgent'}`;
  return [
    `${head}  ${count}. ${good}`,
    '',
    ...sorted.flatMap(({ severity, what, next }) => [
      `${paint(severity, severity === 'bad' ? '✗' : '!')} ${printable(what)}`,
      `    → ${printable(next)}`,
    ]),
  ].join('\n');
}

/** Whatever is bad fails a monitor's check; a warning does not wake anybody. */
export function exitCodeFor(findings: readonly Finding[]): ExitCode {
  return findings.some(({ severity }) => severity === 'bad') ? ExitCode.finding : ExitCode.ok;
}
