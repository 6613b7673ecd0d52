import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import { createHttpApp } from '@waypost/runtime/service';
import type { Logger } from 'pino';
import { refuseCrossSite } from './api/refuse-cross-site.js';
import { AppModule } from './app.module.js';
import type { CircuitLimits } from './central/central-options.js';
import type { EdgeConfig } from './config.js';

/** Requests are short; answers wait for nothing. */
const LIMITS = { maxBodyBytes: 64 << 10, requestTimeoutMs: 30_000, stallTimeoutMs: 60_000, maxConnections: 200 };

/** The edge service, not yet listening. */
export async function createEdgeApp(config: EdgeConfig, logger: Logger, limits?: CircuitLimits): Promise<NestFastifyApplication> {
  const app = await createHttpApp(AppModule.forRoot(config, logger, limits), LIMITS);
  const server = app.getHttpAdapter().getInstance();
  server.addHook('onRequest', refuseCrossSite);
  // A POST without a body is welcome, also from clients that name a content type for it.
  server.addHook('onRequest', (request, _reply, done) => {
    const { 'content-length': length, 'transfer-encoding': encoding } = request.headers;
    if (encoding === undefined && (length === undefined || length === '0')) delete request.headers['content-type'];
    done();
  });
  return app;
}
