import { createServer, type Server } from 'node:http';
import type { Socket } from 'node:net';
import { type BeforeApplicationShutdown, Inject, Injectable } from '@nestjs/common';
import { listenOn } from '@waypost/runtime/service';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { OPERATOR_OPTIONS, type OperatorOptions } from './operator-options.js';

/** Prometheus and a few operators. */
const LIMITS = { maxConnections: 100, headersTimeoutMs: 20_000, requestTimeoutMs: 30_000 };

/** A second address of central, for what is for operators alone: plain HTTP, with the same routes behind it. */
@Injectable()
export class AdminListener implements BeforeApplicationShutdown {
  private readonly sockets = new WeakSet<Socket>();
  private server: Server | undefined;

  constructor(@Inject(OPERATOR_OPTIONS) private readonly options: OperatorOptions) {}

  /** Whether operators are served at an address of their own. */
  get isSeparate(): boolean {
    return this.options.adminAddress !== undefined;
  }

  /** Whether a request came to that address. */
  received({ raw: { socket } }: FastifyRequest): boolean {
    return this.sockets.has(socket);
  }

  /**
   * Begins to listen, if there is such an address. The routes must be there.
   * @returns its URL
   * @throws WaypostError PORT_IN_USE, CONFIG_INVALID
   */
  async listen(fastify: FastifyInstance): Promise<string | undefined> {
    const { adminAddress } = this.options;
    if (!adminAddress) return undefined;
    const { headersTimeoutMs: headersTimeout, requestTimeoutMs: requestTimeout, maxConnections } = LIMITS;
    const server = createServer({ headersTimeout, requestTimeout }, (request, response) => fastify.routing(request, response));
    server.maxConnections = maxConnections;
    server.on('connection', (socket) => this.sockets.add(socket));
    this.server = server;
    return listenOn(server, adminAddress.port, adminAddress.host, { port: 'ADMIN_PORT', host: 'ADMIN_HOST' });
  }

  async beforeApplicationShutdown(): Promise<void> {
    const { server } = this;
    if (!server?.listening) return;
    await new Promise((resolve) => {
      server.close(resolve);
      server.closeIdleConnections();
    });
  }
}
