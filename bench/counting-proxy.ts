import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server } from 'node:net';

/** Passes TCP through, and counts the bytes of both ways. */
export class CountingProxy implements AsyncDisposable {
  private bytes = 0;

  private constructor(private readonly server: Server) {}

  static async start(targetUrl: string): Promise<CountingProxy> {
    const { hostname, port } = new URL(targetUrl);
    const server = createServer();
    const proxy = new CountingProxy(server);
    server.on('connection', (near) => {
      const far = connect({ host: hostname, port: Number(port), noDelay: true });
      near.setNoDelay();
      for (const [from, to] of [
        [near, far],
        [far, near],
      ] as const) {
        from.on('data', (data: Buffer) => (proxy.bytes += data.length));
        from.on('error', () => undefined);
        from.on('close', () => to.destroy());
        from.pipe(to);
      }
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return proxy;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  /** Since the last call. */
  takeBytes(): number {
    const { bytes } = this;
    this.bytes = 0;
    return bytes;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.server.close();
  }
}
