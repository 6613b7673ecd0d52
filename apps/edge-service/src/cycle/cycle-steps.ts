import { Injectable } from '@nestjs/common';
import { Metrics } from '../metrics/metrics.js';
import type { Cycle } from './cycle.js';

/** Runs the steps of cycles: each leaves a line in the log when it starts and when it ends, and its duration in the metrics. */
@Injectable()
export class CycleSteps {
  constructor(private readonly metrics: Metrics) {}

  async run<T>({ log, progress }: Cycle, step: string, facts: object, work: () => Promise<T>): Promise<T> {
    const startedAt = performance.now();
    const about = { step, ...(progress.manifestId === undefined ? {} : { manifestId: progress.manifestId }), ...facts };
    const took = (): number => Math.round(performance.now() - startedAt);
    log.info(about, 'step started');
    try {
      const result = await work();
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

/** The step that asks for the manifest learns its id only on the way. */
function idsOf({ manifestId }: Cycle['progress']): object {
  return manifestId === undefined ? {} : { manifestId };
}
