import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** An answer of central on its way to the edge. */
export interface Exchange {
  path: string;
  status: number;
  headers: Headers;
  body: Buffer;
}

/** Stands between an edge and its central, passes everything on, and lets a test act at each step, or put another answer in place. */
export class Gateway implements AsyncDisposable {
  /** Awaited before a request goes on to central. */
  before: ((path: string) => Promise<void> | void) | undefined;
  /** Turns central's answer into the one that the edge gets. */
  after: ((exchange: Exchange) => Promise<Exchange> | Exchange) | undefined;
  private readonly server: Server;

  private constructor(
    /** Central's address; another one from the next request on. */
    public target: string,
  ) {
    this.server = createServer((request, response) => {
      this.pass(request, response).catch(() => response.destroy());
    });
  }

  static async start(target: string): Promise<Gateway> {
    const gateway = new Gateway(target);
    gateway.server.listen(0, '127.0.0.1');
    await once(gateway.server, 'listening');
    return gateway;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  /** Only passes on again. */
  heal(): void {
    this.before = undefined;
    this.after = undefined;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.server.closeAllConnections();
    this.server.close();
    await once(this.server, 'close');
  }

  private async pass(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const path = request.url ?? '/';
    const parts: Buffer[] = [];
    for await (const part of request as AsyncIterable<Buffer>) parts.push(part);
    await this.before?.(path);
    const headers = Object.fromEntries(
      Object.entries(request.headers).filter(([name]) => /^(authorization|content-type|range|if-range|accept-encoding)$/.test(name)),
    ) as Record<string, string>;
    const body = parts.length > 0 ? { body: Buffer.concat(parts) } : {};
    const answer = await fetch(this.target + path, { method: request.method ?? 'GET', headers, ...body });
    const exchange = { path, status: answer.status, headers: new Headers(answer.headers), body: Buffer.from(await answer.arrayBuffer()) };
    const given = this.after ? await this.after(exchange) : exchange;
    // `fetch` has decompressed the body.
    for (const [name, value] of given.headers)
      if (!/^(connection|keep-alive|transfer-encoding|content-length|content-encoding)$/.test(name)) response.setHeader(name, value);
    response.writeHead(given.status).end(given.body);
  }
}
