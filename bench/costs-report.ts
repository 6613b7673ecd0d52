import type { CostSpread } from './costs.js';
import { bytes, milliseconds } from './report.js';

const HEADER = ['', 'wall', '', 'wire, both ways', 'CPU of central'];

/** A table of costs for a person: those of `titles` that were measured, in that order. */
export function costRows(costs: Readonly<Record<string, CostSpread>>, titles: Readonly<Record<string, string>>): string[][] {
  const measured = Object.entries(titles).flatMap(([name, title]) => {
    const cost = costs[name];
    return cost ? [costRow(title, cost)] : [];
  });
  return [HEADER, ...measured];
}

function costRow(title: string, { ms, bytes: wire, centralCpuMs }: CostSpread): string[] {
  return [
    title,
    milliseconds(ms.median),
    `(${milliseconds(ms.min)}–${milliseconds(ms.max)})`,
    wire === undefined ? '–' : bytes(wire),
    centralCpuMs === undefined ? '–' : milliseconds(centralCpuMs),
  ];
}
