import { Inject, Injectable, type OnApplicationShutdown } from '@nestjs/common';
import { CYCLE_ID_HEADER, REQUEST_ID_HEADER, ulidSchema } from '@waypost/contracts';
import { currentContext, LOGGER, traceHeaders } from '@waypost/runtime';
import type { Logger } from 'pino';
import { Agent, type Dispatcher } from 'undici';
import { networkError } from './central-errors.js';
import { CENTRAL_OPTIONS, type CentralOptions } from './central-options.js';
import { type ClientCertificate, connectorTo } from './connect-to-central.js';

export interface CentralRequest {
  method: 'GET' | 'POST';
  path: string;
  body?: string;
  headers?: Record<string, string>;
}

/** Short: a connection that broke unnoticed while it was idle accepts the next request and never answers it. */
const KEEP_ALIVE_MS = 1000;

/** The connections to central. */
@Injectable()
export class CentralHttp implements OnApplicationShutdown {
  private agent: Agent;
  private client: ClientCertificate | undefined;

  constructor(
    @Inject(CENTRAL_OPTIONS) private readonly options: CentralOptions,
    @Inject(LOGGER) private readonly logger: Logger,
  ) {
    this.agent = this.newAgent();
  }

  /** New connections show this certificate; those that are open end with what they carry. */
  show(client: ClientCertificate): void {
    if (client.certificate === this.client?.certificate) return;
    this.client = client;
    const before = this.agent;
    this.agent = this.newAgent();
    void before.close();
  }

  private newAgent(): Agent {
    const { url, trust, requestTimeoutMs } = this.options;
    return new Agent({
      connect: connectorTo({ url, trust, client: this.client, timeoutMs: Math.min(10_000, requestTimeoutMs) }),
      // undici's own timers are coarse, and do not fire while the reader is slow: the callers' deadlines and with-stall-timeout.ts watch instead.
      headersTimeout: 0,
      bodyTimeout: 0,
      // A connection that was idle for longer may have broken unnoticed, and a request on it would wait for its whole deadline.
      keepAliveMaxTimeout: KEEP_ALIVE_MS,
    });
  }

  async onApplicationShutdown(): Promise<void> {
    await this.agent.destroy();
  }

  /** @throws WaypostError CENTRAL_UNREACHABLE, DEADLINE_EXCEEDED */
  async send(request: CentralRequest, signal: AbortSignal): Promise<Dispatcher.ResponseData> {
    const { origin, pathname } = new URL(this.options.url);
    const prefix = pathname === '/' ? '' : pathname;
    // Compressed bodies that end too early can pass for whole ones, and rows are compressed chunk by chunk anyway.
    const cycleId = currentContext()?.ids.cycleId;
    const headers = {
      'accept-encoding': 'identity',
      'user-agent': 'waypost-edge',
      ...(cycleId === undefined ? {} : { [CYCLE_ID_HEADER]: cycleId }),
      ...traceHeaders(),
      ...request.headers,
    };
    const startedAt = performance.now();
    const answer = await this.agent
      .request({ ...request, origin, path: prefix + request.path, headers, signal })
      .catch((error: unknown) => {
        throw networkError(error);
      });
    // Under this id central's log and audit have the same request.
    const centralRequestId = ulidSchema.safeParse(answer.headers[REQUEST_ID_HEADER]).data;
    const durationMs = Math.round(performance.now() - startedAt);
    this.logger.info(
      { centralRequestId, method: request.method, path: request.path, status: answer.statusCode, durationMs },
      'central answers',
    );
    return answer;
  }
}
