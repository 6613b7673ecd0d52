/**
 * `@waypost/runtime/service`: what only a process that serves needs. It loads Nest, which takes a quarter of a second: `@waypost/runtime`, which commands
 * import, does not.
 */
export * from '../errors/to-waypost-error.js';

export * from '../telemetry/process-metrics.js';

export * from '../http/http-app.js';
export * from '../http/listen.js';
export * from '../http/parse-message.js';
export * from '../http/problem-filter.js';
export * from '../http/reset-connection.js';
export * from '../http/zod.pipe.js';

export * from '../health/health.js';

export * from './periodic-tasks.js';
export * from './run-service.js';
