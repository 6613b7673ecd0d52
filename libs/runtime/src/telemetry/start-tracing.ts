import { context, diag, DiagLogLevel, propagation, trace } from '@opentelemetry/api';
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks';
import { type ExportResult, ExportResultCode, setGlobalErrorHandler, W3CTraceContextPropagator } from '@opentelemetry/core';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http';
import { defaultResource, detectResources, envDetector, resourceFromAttributes } from '@opentelemetry/resources';
import {
  AlwaysOffSampler,
  AlwaysOnSampler,
  BatchSpanProcessor,
  ParentBasedSampler,
  type ReadableSpan,
  type Sampler,
  type SpanExporter,
  TracerProvider,
  TraceIdRatioBasedSampler,
} from '@opentelemetry/sdk-trace';
import { ATTR_SERVICE_NAME } from '@opentelemetry/semantic-conventions';
import type { Logger } from 'pino';
import type { SamplerName } from './telemetry-config.js';

export interface TracingOptions {
  service: string;
  sampler: SamplerName;
  /** For the ratio samplers. */
  ratio: number;
  logger: Logger;
}

/** Spans that wait for the exporter; beyond it new ones are dropped. About 1 KB each. */
const MAX_QUEUED_SPANS = 2048;
const BATCH_MS = 2000;

/**
 * Registers the SDK: from now on spans are recorded, and sent by OTLP over HTTP (JSON) in the background. Address, headers, timeout, compression and
 * certificates are taken from OTEL_EXPORTER_OTLP_*, names from OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES, by OpenTelemetry's own rules.
 * While the collector is away, spans are lost; one log line says so when it goes and one when it is back.
 * @returns a function that sends the remaining spans and shuts the SDK down
 */
export function startTracing({ service, sampler, ratio, logger }: TracingOptions): () => Promise<void> {
  diag.setLogger(diagnostics(logger), DiagLogLevel.WARN);
  setGlobalErrorHandler(() => undefined); // ReportingExporter has logged failed exports
  const provider = new TracerProvider({
    resource: defaultResource()
      .merge(resourceFromAttributes({ [ATTR_SERVICE_NAME]: service }))
      .merge(detectResources({ detectors: [envDetector] })),
    sampler: createSampler(sampler, ratio),
    spanProcessors: [
      new BatchSpanProcessor({
        exporter: new ReportingExporter(new OTLPTraceExporter(), logger),
        maxQueueSize: MAX_QUEUED_SPANS,
        scheduledDelayMillis: BATCH_MS,
      }),
    ],
  });
  context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
  propagation.setGlobalPropagator(new W3CTraceContextPropagator());
  trace.setGlobalTracerProvider(provider);
  return () => provider.shutdown();
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
