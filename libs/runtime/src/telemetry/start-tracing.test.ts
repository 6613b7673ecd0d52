import { ROOT_CONTEXT, SpanKind, trace, TraceFlags } from '@opentelemetry/api';
import { SamplingDecision } from '@opentelemetry/sdk-trace';
import { createSampler } from './start-tracing.js';
import type { SamplerName } from './telemetry-config.js';

const LOW_ID = '00000000000000000000000000000001';
const HIGH_ID = 'ffffffff000000000000000000000000';

/** Whether a span is recorded whose parent came with a request, or is one of this process. */
function isSampled(sampler: SamplerName, parent: { traceId?: string; sampled: boolean; isRemote?: boolean }, ratio = 0.01): boolean {
  const { traceId = HIGH_ID, sampled, isRemote = true } = parent;
  const traceFlags = sampled ? TraceFlags.SAMPLED : TraceFlags.NONE;
  const context = trace.setSpanContext(ROOT_CONTEXT, { traceId, spanId: '0000000000000001', traceFlags, isRemote });
  const { decision } = createSampler(sampler, ratio).shouldSample(context, traceId, 'span', SpanKind.SERVER, {}, []);
  return decision === SamplingDecision.RECORD_AND_SAMPLED;
}

test.each([
  ['parentbased_always_off', false],
  ['parentbased_traceidratio', false],
  ['parentbased_always_on', true],
] as const)('%s: the sampled flag of a caller does not decide', (sampler, sampled) => {
  expect(isSampled(sampler, { sampled: true })).toBe(sampled);
});

test('services of equal ratio agree about a trace, by its id', () => {
  expect(isSampled('parentbased_traceidratio', { traceId: LOW_ID, sampled: true })).toBe(true);
  expect(isSampled('parentbased_traceidratio', { traceId: HIGH_ID, sampled: true })).toBe(false);
});

test.each(['parentbased_always_on', 'parentbased_traceidratio'] as const)('%s: a caller that does not sample is followed', (sampler) => {
  expect(isSampled(sampler, { traceId: LOW_ID, sampled: false }, 1)).toBe(false);
});

test('within a process, spans follow the trace that they are part of', () => {
  expect(isSampled('parentbased_always_off', { sampled: true, isRemote: false })).toBe(true);
});
