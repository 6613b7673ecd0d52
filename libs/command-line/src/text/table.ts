import { stripVTControlCharacters } from 'node:util';
import { type Paint, printable, type Tone } from './style.js';

/** One cell: a text, or one with a tone. `null` is shown as a dash. */
export type Cell = string | number | null | { text: string; tone: Tone };

export interface Column {
  title: string;
  align?: 'right';
  /** The column that is cut where the terminal is too narrow. */
  elastic?: true;
}

interface TableOptions {
  paint: Paint;
  /** Of the terminal; without it nothing is cut. */
  width?: number | undefined;
}

const GAP = '  ';
const INDENT = '  ';
const MIN_ELASTIC = 12;

/** Aligned columns under a header, without lines, so that `awk` and a person read the same. */
export function renderTable(columns: readonly Column[], rows: readonly (readonly Cell[])[], { paint, width }: TableOptions): string {
  const texts = rows.map((row) => columns.map((_, at) => textOf(row[at] ?? null)));
  const widths = columns.map(({ title }, at) => Math.max(...[title, ...texts.map((row) => row[at] as string)].map(lengthOf)));
  shrink(columns, widths, width);
  const line = (cells: readonly string[], tones: readonly (Tone | undefined)[]): string => {
    const parts = cells.map((cell, at) => {
      const shown = cut(cell, widths[at] as number);
      const padding = ' '.repeat((widths[at] as number) - lengthOf(shown));
      const tone = tones[at];
      const painted = tone === undefined ? shown : paint(tone, shown);
      if (columns[at]?.align === 'right') return padding + painted;
      return at === columns.length - 1 ? painted : painted + padding;
    });
    return (INDENT + parts.join(GAP)).trimEnd();
  };
  const header = line(
    columns.map(({ title }) => title),
    columns.map(() => 'dim' as const),
  );
  return [
    header,
    ...texts.map((row, at) =>
      line(
        row,
        (rows[at] ?? []).map((cell) => (cell !== null && typeof cell === 'object' ? cell.tone : undefined)),
      ),
    ),
  ].join('\n');
}

/** `label   value` lines. */
export function renderFacts(facts: readonly (readonly [label: string, value: string])[], paint: Paint): string {
  const width = Math.max(...facts.map(([label]) => label.length));
  return facts.map(([label, value]) => `${INDENT}${paint('dim', label.padEnd(width))}${GAP}${value}`.trimEnd()).join('\n');
}

function textOf(cell: Cell): string {
  if (cell === null) return '-';
  if (typeof cell === 'number') return cell.toLocaleString('en-US');
  return printable(typeof cell === 'string' ? cell : cell.text);
}

function shrink(columns: readonly Column[], widths: number[], width: number | undefined): void {
  const elastic = columns.findIndex((column) => column.elastic);
  if (width === undefined || elastic < 0) return;
  const total = INDENT.length + widths.reduce((sum, each) => sum + each, 0) + GAP.length * (columns.length - 1);
  const over = total - width;
  if (over > 0) widths[elastic] = Math.max(MIN_ELASTIC, (widths[elastic] as number) - over);
}

function cut(text: string, width: number): string {
  return lengthOf(text) <= width ? text : `${[...text].slice(0, width - 1).join('')}…`;
}

function lengthOf(text: string): number {
  return [...stripVTControlCharacters(text)].length;
}
