import { columns, gigabytes, megabytes } from './report.js';
import type { SlowReadersReport } from './slow-readers.js';

const MAX_RATIO = 2;
/** Half a megabyte for each reader. */
const MAX_GROWTH_BYTES = 100e6;

/** `bench slow-readers` for a person. */
export function formatSlowReaders(report: SlowReadersReport): string {
  const { machine, versions, alone, beside, memory, ratioP99, readers } = report;
  const target = (met: boolean, name: string, value: string, limit: string): string[] => [met ? '✓' : '✗', name, value, `≤ ${limit}`];
  return [
    `bench slow-readers, ${report.date}`,
    '',
    ...columns([
      ['machine', `${machine.cpu}, ${machine.cores} cores, ${gigabytes(machine.memoryBytes)}, ${machine.system}`],
      ['versions', `Node ${versions.node}, PostgreSQL ${versions.postgres}`],
      ['readers', `${readers} downloads of ${megabytes(report.streamBytes)} each, begun and not read`],
    ]),
    '',
    `A healthy device’s request, download and ack: milliseconds of ${report.syncs} each`,
    ...columns([
      ['', 'p50', 'p99', 'max'],
      ...Object.entries({ alone, beside }).map(([name, ms]) => [name, ...[ms.p50, ms.p99, ms.max].map((value) => value.toFixed(1))]),
    ]),
    '',
    'Targets',
    ...columns([
      target(ratioP99 <= MAX_RATIO, 'p99 beside / alone', `${ratioP99.toFixed(2)} ×`, `${MAX_RATIO.toFixed(2)} ×`),
      ...(memory
        ? [
            target(
              memory.peakBytes - memory.aloneBytes <= MAX_GROWTH_BYTES,
              `RSS of central, growth (${megabytes(memory.aloneBytes)} alone, peak ${megabytes(memory.peakBytes)})`,
              megabytes(memory.peakBytes - memory.aloneBytes),
              megabytes(MAX_GROWTH_BYTES),
            ),
          ]
        : []),
    ]),
    '',
  ].join('\n');
}
