import { type Finding, hasBad, worstFirst } from '../read/findings.js';
import { plural } from './format.js';
import { type Paint, printable } from './style.js';

/** The first lines of `waypost status`: whether something is wrong, and what to do next, the worst first. */
export function renderVerdict({ paint }: { paint: Paint }, good: string, findings: readonly Finding[]): string {
  if (findings.length === 0) return `${paint('good', 'OK')}  ${good}`;
  const isBad = hasBad(findings);
  const head = isBad ? paint('bad', 'WRONG') : paint('warn', 'WATCH');
  const count = `${plural(findings.length, 'finding')}${isBad ? '' : ', none urgent'}`;
  return [
    `${head}  ${count}. ${good}`,
    '',
    ...worstFirst(findings).flatMap(({ severity, what, next }) => [
      `${paint(severity, severity === 'bad' ? '✗' : '!')} ${printable(what)}`,
      `    → ${printable(next)}`,
    ]),
  ].join('\n');
}
