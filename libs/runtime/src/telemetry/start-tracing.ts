import { diag, DiagLogLevel } from '@opentelemetry/api';
import { type ExportResult, ExportResultCode, setGlobalErrorHandler, W3CTraceContextPropagator } from '@opentelemetry/core';
import { defaultResource, envDetector, hostDetector, resourceFromAttributes, serviceInstanceIdDetector } from '@opentelemetry/resources';
import { NodeSDK } from '@opentelemetry/sdk-node';
import {
  AlwaysOffSampler,
  AlwaysOnSampler,
  ParentBasedSampler,
  type ReadableSpan,
  type Sampler,
  type SpanExporter,
  TraceIdRatioBasedSampler,
} from '@opentelemetry/sdk-trace';
import type { Logger } from 'pino';
import type { SamplerName } from './telemetry-config.js';

export interface TracingOptions {
  service: string;
  sampler: SamplerName;
  /** For the ratio samplers. */
  ratio: number;
  logger: Logger;
}

const EXPORTERS = {
  'http/json': () => import('@opentelemetry/exporter-trace-otlp-http'),
  'http/protobuf': () => import('@opentelemetry/exporter-trace-otlp-proto'),
  grpc: () => import('@opentelemetry/exporter-trace-otlp-grpc'),
} as const;

/** Not the SDK's default detectors: those of the process would send its command line. */
const DETECTORS = [serviceInstanceIdDetector, hostDetector, envDetector];

/**
 * Starts OpenTelemetry's NodeSDK: from now on spans are recorded and sent in the background. The SDK reads its own variables: OTEL_EXPORTER_OTLP_*,
 * OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES, OTEL_NODE_RESOURCE_DETECTORS, OTEL_PROPAGATORS, OTEL_BSP_*, OTEL_SPAN_*, OTEL_SDK_DISABLED.
 * While the collector is away, spans are lost; one log line says so when it goes and one when it is back.
 * @returns a function that sends the remaining spans and shuts the SDK down
 */
export async function startTracing({ service, sampler, ratio, logger }: TracingOptions): Promise<() => Promise<void>> {
  const { OTLPTraceExporter } = await EXPORTERS[protocolOf(process.env, logger)]();
  const sdk = new NodeSDK({
    resource: defaultResource().merge(resourceFromAttributes({ 'service.name': service })),
    ...(process.env['OTEL_NODE_RESOURCE_DETECTORS'] ? {} : { resourceDetectors: DETECTORS }),
    ...(process.env['OTEL_PROPAGATORS'] ? {} : { textMapPropagator: new W3CTraceContextPropagator() }),
    sampler: createSampler(sampler, ratio),
    traceExporter: new ReportingExporter(new OTLPTraceExporter(), logger),
    // Traces only: Waypost has its own logs and metrics.
    logRecordProcessors: [],
    metricReaders: [],
  });
  // After the constructor, which may set a logger that writes plain text to standard output.
  diag.setLogger(diagnostics(logger), { logLevel: DiagLogLevel.WARN, suppressOverrideMessage: true });
  setGlobalErrorHandler(() => undefined); // ReportingExporter has logged failed exports
  sdk.start();
  return () => sdk.shutdown();
}

function protocolOf(env: NodeJS.ProcessEnv, logger: Logger): keyof typeof EXPORTERS {
  const protocol = env['OTEL_EXPORTER_OTLP_TRACES_PROTOCOL'] || env['OTEL_EXPORTER_OTLP_PROTOCOL'] || 'http/json';
  if (Object.hasOwn(EXPORTERS, protocol)) return protocol as keyof typeof EXPORTERS;
  logger.warn({ protocol, known: Object.keys(EXPORTERS) }, 'unknown OTLP protocol; spans are sent as http/json');
  return 'http/json';
}

/**
 * OpenTelemetry's samplers, but for one case: a caller's `sampled` flag is a wish. Who may ask central is not who may fill its collector, so a trace from
 * outside is sampled where the own root sampler would sample it, too. The ratio goes by the trace's id: services of equal ratio agree. A caller
 * that does not sample is followed.
 */
export function createSampler(name: SamplerName, ratio: number): Sampler {
  const root = name.endsWith('always_off')
    ? new AlwaysOffSampler()
    : name.endsWith('traceidratio')
      ? new TraceIdRatioBasedSampler(ratio)
      : new AlwaysOnSampler();
  return name.startsWith('parentbased') ? new ParentBasedSampler({ root, remoteParentSampled: root }) : root;
}

/** Logs when spans are lost, and when they arrive again. */
class ReportingExporter implements SpanExporter {
  private lost = 0;

  constructor(
    private readonly exporter: SpanExporter,
    private readonly logger: Logger,
  ) {}

  export(spans: ReadableSpan[], done: (result: ExportResult) => void): void {
    this.exporter.export(spans, (result) => {
      this.report(spans.length, result);
      done(result);
    });
  }

  async forceFlush(): Promise<void> {
    await this.exporter.forceFlush?.();
  }

  shutdown(): Promise<void> {
    return this.exporter.shutdown();
  }

  private report(count: number, { code, error }: ExportResult): void {
    if (code === ExportResultCode.SUCCESS) {
      if (this.lost > 0) this.logger.info({ lostSpans: this.lost }, 'spans are sent again');
      this.lost = 0;
      return;
    }
    if (this.lost === 0)
      this.logger.warn({ reason: error?.message ?? 'unknown' }, 'spans cannot be sent, they are lost until this is over');
    this.lost += count;
  }
}

/** The SDK's own warnings, such as a full queue. */
function diagnostics(logger: Logger) {
  const ignore = (): void => undefined;
  const warn = (message: string): void => logger.warn({ reason: message }, 'OpenTelemetry warns');
  return { verbose: ignore, debug: ignore, info: ignore, warn, error: warn };
}
