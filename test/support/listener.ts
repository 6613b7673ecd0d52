import { once } from 'node:events';
import { createServer, type IncomingHttpHeaders, type Server } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';

export interface Received {
  url: string;
  headers: IncomingHttpHeaders;
  body: string;
}

/** An HTTP server that keeps what it is sent and answers as it is told: a stand-in for Seq or for a collector of spans. */
export class Listener implements AsyncDisposable {
  readonly received: Received[] = [];
  /** Status of the answers; `hang` reads the request and never answers. */
  answer: (received: Received) => number | 'hang' = () => 200;
  private server: Server | undefined;
  private readonly sockets = new Set<Socket>();
  private port = 0;

  static async start(): Promise<Listener> {
    const listener = new Listener();
    await listener.listen();
    return listener;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** At the same port as before. */
  async listen(): Promise<void> {
    this.server = createServer((request, response) => {
      const parts: Buffer[] = [];
      request.on('data', (part: Buffer) => parts.push(part));
      request.on('end', () => {
        const received = { url: request.url ?? '', headers: request.headers, body: Buffer.concat(parts).toString('utf8') };
        this.received.push(received);
        const status = this.answer(received);
        if (status !== 'hang') response.writeHead(status, { 'content-type': 'application/json' }).end('{}');
      });
    }).on('connection', (socket) => {
      this.sockets.add(socket);
      socket.on('close', () => this.sockets.delete(socket));
    });
    this.server.listen(this.port, '127.0.0.1');
    await once(this.server, 'listening');
    this.port = (this.server.address() as AddressInfo).port;
  }

  /** From now on connections are refused. */
  async stop(): Promise<void> {
    const { server } = this;
    if (!server?.listening) return;
    server.close();
    for (const socket of this.sockets) socket.destroy();
    await once(server, 'close');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }
}
