export * from './config/config.js';

export * from './errors/database-errors.js';
export { SqlState, sqlStateOf } from './errors/sql-state.js';

export * from './system/disk-space.js';
export * from './system/new-id.js';
export * from './system/pause.js';
export * from './system/port-owner.js';
export * from './system/release-memory.js';
export * from './system/zstd.js';

export * from './telemetry/logging.js';
export { redactText } from './telemetry/redact.js';
export * from './telemetry/telemetry.js';
export * from './telemetry/telemetry-config.js';
export { describeSpan, failSpan, SpanKind, statementOf, traced, traceHeaders } from './telemetry/tracing.js';
export { currentContext, addContext, withContext, withoutContext } from './telemetry/request-context.js';

export * from './postgres/advisory-locks.js';
export * from './postgres/catalog.js';
export * from './postgres/copy-in.js';
export * from './postgres/copy-rows.js';
export * from './postgres/database-identity.js';
export * from './postgres/key-ranges.js';
export * from './postgres/rows-by-key.js';
export * from './postgres/splice-rows.js';
export * from './postgres/pool.js';
export * from './postgres/query.js';
export * from './postgres/session-settings.js';
export * from './postgres/transaction.js';
export { type KeyOrder, TypeCatalog } from './postgres/type-catalog.js';

export { readCapturedKey } from './capture/captured-keys.js';
export { checkTriggers, readKeys, type TableRef, type TriggerCheck } from './capture/check-triggers.js';
export * from './capture/install-triggers.js';
export { readCanaries, type Trial, tryCapture } from './capture/try-capture.js';

export { CertificateReloader } from './tls/certificate-reloader.js';
export { type KeyPair, readKeyPair, type TlsFiles } from './tls/key-pair.js';
export { TLS_POLICY } from './tls/tls-policy.js';

export * from './health/ttl-cache.js';

export * from './service/fault-points.js';
