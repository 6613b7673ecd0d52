import { setTimeout as delay } from 'node:timers/promises';
import type { Logger } from 'pino';
import { createLogger, type LineSink } from './logging.js';
import type { SeqChange } from './seq-sink.js';
import type { TelemetryConfig } from './telemetry-config.js';

export interface Telemetry {
  logger: Logger;
  /** Sends what is left, for at most 1.5 s each; never throws. */
  close: () => Promise<void>;
}

/** A service has 9 s to stop, and its drain comes first. */
const FLUSH_MS = 1500;

/** The service's log, with Seq and traces where they are switched on. What is off is not loaded. */
export async function startTelemetry(service: string, config: TelemetryConfig): Promise<Telemetry> {
  const sinks: LineSink[] = [];
  const closers: (() => Promise<void>)[] = [];
  const logger = createLogger(service, config.LOG_LEVEL, sinks);
  if (config.SEQ_URL !== undefined) {
    const { SeqSink } = await import('./seq-sink.js');
    const sink = new SeqSink({ url: config.SEQ_URL, apiKey: config.SEQ_API_KEY, onChange: (change) => reportSeq(logger, change) });
    sinks.push(sink);
    closers.push(() => sink.close(FLUSH_MS));
  }
  if (config.OTEL_EXPORTER_OTLP_ENDPOINT !== undefined) {
    const { startTracing } = await import('./start-tracing.js');
    const { OTEL_TRACES_SAMPLER: sampler, OTEL_TRACES_SAMPLER_ARG: ratio } = config;
    const stop = await startTracing({ service, sampler, ratio, logger });
    // Before Seq: closing it may log a line.
    closers.unshift(() => Promise.race([stop(), delay(FLUSH_MS, undefined, { ref: false })]));
  }
  const close = async (): Promise<void> => {
    for (const end of closers) await end().catch(() => undefined);
  };
  return { logger, close };
}

function reportSeq(logger: Logger, change: SeqChange): void {
  if (change.state === 'away') logger.warn({ reason: change.reason }, 'Seq does not take log lines; they wait for it');
  else if (change.droppedLines === 0) logger.info('Seq takes log lines again');
  else logger.warn({ droppedLines: change.droppedLines }, 'Seq takes log lines; some were lost');
}
