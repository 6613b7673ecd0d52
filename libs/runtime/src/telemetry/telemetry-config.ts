import { z } from 'zod';
import { httpUrl, logLevel } from '../config/config.js';

const SAMPLERS = [
  'always_on',
  'always_off',
  'traceidratio',
  'parentbased_always_on',
  'parentbased_always_off',
  'parentbased_traceidratio',
] as const;

/** Environment variables of both services for logs and traces. */
export const telemetryShape = {
  LOG_LEVEL: logLevel.default('info').describe('`fatal`, `error`, `warn`, `info`, `debug`, `trace` or `silent`'),
  SEQ_URL: httpUrl.optional().describe('Log lines also go to this [Seq](observability.md#seq)'),
  SEQ_API_KEY: z
    .string()
    .regex(/^[\x21-\x7e]+$/, 'must be an API key of Seq: letters and digits')
    .optional()
    .describe('API key for it'),
  OTEL_EXPORTER_OTLP_ENDPOINT: httpUrl
    .optional()
    .describe('[Traces](observability.md#traces) go to this collector. OpenTelemetry’s libraries read its other variables'),
  OTEL_TRACES_SAMPLER: z
    .enum(SAMPLERS, { error: `must be one of ${SAMPLERS.join(', ')}` })
    .default('parentbased_always_on')
    .describe('Which traces are sampled'),
  OTEL_TRACES_SAMPLER_ARG: z
    .string()
    .transform(Number)
    .refine((ratio) => ratio >= 0 && ratio <= 1, { message: 'must be a ratio from 0 to 1' })
    .default(1)
    .describe('Ratio for the `traceidratio` samplers, from 0 to 1'),
};

export type TelemetryConfig = z.infer<z.ZodObject<typeof telemetryShape>>;
export type SamplerName = (typeof SAMPLERS)[number];
