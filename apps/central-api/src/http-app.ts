import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import { createHttpApp } from '@waypost/runtime/service';
import type { Logger } from 'pino';
import { AppModule } from './app.module.js';
import { type Config, tlsFilesOf } from './config.js';
import { AdminListener } from './http/admin-listener.js';
import { AttemptLimits } from './http/attempt-limits.js';
import { Traffic } from './http/traffic.js';
import { checkDigest } from './http/check-digest.js';
import { Authenticator } from './http/authenticate.js';
import { limitBody } from './http/operation.js';
import { mustBeListed } from './http/routes.js';

/** Acks hold a count and a hash per table; this is enough for some thousand tables. */
const MAX_BODY_BYTES = 512 << 10;
const REQUEST_TIMEOUT_MS = 30_000;

/** Central, not yet listening. */
export async function createCentralApp(config: Config, logger: Logger): Promise<NestFastifyApplication> {
  const app = await createHttpApp(AppModule.forRoot(config, logger), {
    maxBodyBytes: MAX_BODY_BYTES,
    requestTimeoutMs: REQUEST_TIMEOUT_MS,
    stallTimeoutMs: config.STALL_TIMEOUT,
    maxConnections: config.MAX_CONNECTIONS,
    tls: tlsFilesOf(config),
    ...(config.TRUST_PROXY ? { trustedProxies: config.TRUST_PROXY } : {}),
    tracedUrls: /^\/api\//,
  });
  const server = app.getHttpAdapter().getInstance();
  const limits = app.get(AttemptLimits);
  await limits.attachTo(server);
  server
    .addHook('onRoute', mustBeListed)
    .addHook('onRoute', limitBody)
    .addHook('onRequest', app.get(Traffic).watch)
    .addHook('onRequest', limits.check)
    .addHook('onRequest', app.get(Authenticator).authenticate)
    .addHook('preParsing', checkDigest);
  return app;
}

/** @returns the URL of the operators' own listener, if there is one @throws WaypostError PORT_IN_USE, CONFIG_INVALID */
export async function listenForOperators(app: NestFastifyApplication): Promise<string | undefined> {
  await app.init();
  await app.getHttpAdapter().getInstance().ready();
  return app.get(AdminListener).listen(app.getHttpAdapter().getInstance());
}
