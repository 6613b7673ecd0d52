import { Injectable } from '@nestjs/common';
import { faultPoint, SpanKind, traced } from '@waypost/runtime';
import { Metrics } from '../metrics/metrics.js';
import type { Cycle } from './cycle.js';

/** Facts of steps, as attributes of their spans. */
const ATTRIBUTES: Record<string, string> = {
  table: 'waypost.table',
  tables: 'waypost.tables',
  rowCount: 'waypost.rows',
  rawBytes: 'waypost.raw_bytes',
  streamBytes: 'waypost.stream_bytes',
  sha256: 'waypost.sha256',
  way: 'waypost.way',
  pending: 'waypost.pending_acks',
};

/** Runs the steps of cycles: each leaves a line in the log when it starts and when it ends, its duration in the metrics, and a span. */
@Injectable()
export class CycleSteps {
  constructor(private readonly metrics: Metrics) {}

  /** The step after which all that will be loaded is on disk. */
  async download<T>(cycle: Cycle, facts: object, work: () => Promise<T>): Promise<T> {
    const result = await this.run(cycle, 'download', facts, work);
    await faultPoint('edge.download-complete');
    return result;
  }

  async run<T>({ log, progress }: Cycle, step: string, facts: object, work: () => Promise<T>): Promise<T> {
    const startedAt = performance.now();
    const about = { step, ...(progress.manifestId === undefined ? {} : { manifestId: progress.manifestId }), ...facts };
    const took = (): number => Math.round(performance.now() - startedAt);
    log.info(about, 'step started');
    try {
      const result = await traced(
        step,
        { kind: step === 'request' ? SpanKind.CLIENT : SpanKind.INTERNAL, attributes: attributesOf(facts) },
        work,
      );
      log.info({ ...about, ...idsOf(progress), durationMs: took() }, 'step finished');
      return result;
    } catch (error) {
      // The cycle logs the error itself, once.
      log.warn({ ...about, durationMs: took(), reason: error instanceof Error ? error.message : String(error) }, 'step failed');
      throw error;
    } finally {
      this.metrics.stepSeconds.observe({ step }, (performance.now() - startedAt) / 1000);
    }
  }
}

/** The step that requests the manifest learns its id while it runs. */
function idsOf({ manifestId }: Cycle['progress']): object {
  return manifestId === undefined ? {} : { manifestId };
}

/** Where a fact is a list, its length. */
function attributesOf(facts: object): Record<string, string | number> {
  const attributes: Record<string, string | number> = {};
  for (const [name, value] of Object.entries(facts as Record<string, string | number | string[] | undefined>)) {
    const attribute = ATTRIBUTES[name];
    if (attribute !== undefined && value !== undefined) attributes[attribute] = Array.isArray(value) ? value.length : value;
  }
  return attributes;
}
