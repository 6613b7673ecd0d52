import { setTimeout as delay } from 'node:timers/promises';
import type { Logger } from 'pino';
import { z } from 'zod';
import { httpUrl, logLevel } from '../config/config.js';
import { createLogger, type LineSink } from './logging.js';
import type { SeqChange } from './seq-sink.js';

const SAMPLERS = [
  'always_on',
  'always_off',
  'traceidratio',
  'parentbased_always_on',
  'parentbased_always_off',
  'parentbased_traceidratio',
] as const;

/** What both services take from the environment for their logs and traces. */
export const telemetryShape = {
  LOG_LEVEL: logLevel.default('info'),
  /** Log lines go there, too; off by default. */
  SEQ_URL: httpUrl.optional(),
  SEQ_API_KEY: z
    .string()
    .regex(/^[\x21-\x7e]+$/, 'must be an API key of Seq: letters and digits')
    .optional(),
  /** Spans go there; off by default. OpenTelemetry's other variables are read by its own libraries. */
  OTEL_EXPORTER_OTLP_ENDPOINT: httpUrl.optional(),
  OTEL_TRACES_SAMPLER: z.enum(SAMPLERS, { error: `must be one of ${SAMPLERS.join(', ')}` }).default('parentbased_always_on'),
  OTEL_TRACES_SAMPLER_ARG: z
    .string()
    .transform(Number)
    .refine((ratio) => ratio >= 0 && ratio <= 1, { message: 'must be a ratio from 0 to 1' })
    .default(1),
};

export type TelemetryConfig = z.infer<z.ZodObject<typeof telemetryShape>>;
export type SamplerName = (typeof SAMPLERS)[number];

export interface Telemetry {
  logger: Logger;
  /** Sends what is left, for a moment; never throws. */
  close: () => Promise<void>;
}

/** A service has 9 s to end, and its drain comes first. */
const FLUSH_MS = 1500;

/** The service's log, with Seq and traces where they are switched on: what is off is not even loaded. */
export async function startTelemetry(service: string, config: TelemetryConfig): Promise<Telemetry> {
  const sinks: LineSink[] = [];
  const closers: (() => Promise<void>)[] = [];
  const logger = createLogger(service, config.LOG_LEVEL, sinks);
  if (config.SEQ_URL !== undefined) {
    const { SeqSink } = await import('./seq-sink.js');
    const sink = new SeqSink({ url: config.SEQ_URL, apiKey: config.SEQ_API_KEY, onChange: (change) => tell(logger, change) });
    sinks.push(sink);
    closers.push(() => sink.close(FLUSH_MS));
  }
  if (config.OTEL_EXPORTER_OTLP_ENDPOINT !== undefined) {
    const { startTracing } = await import('./start-tracing.js');
    const { OTEL_TRACES_SAMPLER: sampler, OTEL_TRACES_SAMPLER_ARG: ratio } = config;
    const stop = startTracing({ service, sampler, ratio, logger });
    // Before Seq: it may have something to say.
    closers.unshift(() => Promise.race([stop(), delay(FLUSH_MS, undefined, { ref: false })]));
  }
  const close = async (): Promise<void> => {
    for (const end of closers) await end().catch(() => undefined);
  };
  return { logger, close };
}

function tell(logger: Logger, change: SeqChange): void {
  if (change.state === 'away') logger.warn({ reason: change.reason }, 'Seq does not take log lines; they wait for it');
  else if (change.droppedLines === 0) logger.info('Seq takes log lines again');
  else logger.warn({ droppedLines: change.droppedLines }, 'Seq takes log lines; some were lost');
}
