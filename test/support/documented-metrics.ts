import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

export interface DocumentedMetric {
  type: string;
  labels: string[];
  help: string;
}

const ROW = /^\| `(waypost_\w+)` \| (\w+) \| (.*?) \| (.*) \|$/gm;

/** The tables of metrics in docs/observability.md, by name. */
export async function documentedMetrics(): Promise<Map<string, DocumentedMetric>> {
  const page = await readFile(join(import.meta.dirname, '../../docs/observability.md'), 'utf8');
  return new Map(
    [...page.matchAll(ROW)].map(([, name, type, labels, help]) => [
      name!,
      { type: type!, labels: [...labels!.matchAll(/`(\w+)`/g)].map(([, label]) => label!).sort(), help: help! },
    ]),
  );
}

/** What /metrics of a service says: each family with its type, its labels (but `service`) and its help. */
export function exportedMetrics(page: string): Map<string, DocumentedMetric> {
  const families = new Map<string, DocumentedMetric>();
  for (const [, name, help] of page.matchAll(/^# HELP (waypost_\w+) (.*)$/gm)) families.set(name!, { type: '', labels: [], help: help! });
  for (const [, name, type] of page.matchAll(/^# TYPE (waypost_\w+) (\w+)$/gm)) families.get(name!)!.type = type!;
  for (const [name, family] of families) {
    const suffix = family.type === 'histogram' ? '_count' : '';
    const labels = new Set<string>();
    for (const [, given] of page.matchAll(new RegExp(`^${name}${suffix}\\{(.*)\\} `, 'gm'))) {
      for (const [, label] of given!.matchAll(/(\w+)="/g)) labels.add(label!);
    }
    labels.delete('service');
    family.labels = [...labels].sort();
  }
  return families;
}
