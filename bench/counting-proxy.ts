import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';

/** Passes TCP through, and counts the bytes of both ways. */
export class CountingProxy implements AsyncDisposable {
  private bytes = 0;
  private bytesUntilCut = Infinity;

  private constructor(private readonly server: Server) {}

  static async start(targetUrl: string): Promise<CountingProxy> {
    const { hostname, port } = new URL(targetUrl);
    const server = createServer();
    const proxy = new CountingProxy(server);
    server.on('connection', (near) => proxy.join(near, connect({ host: hostname, port: Number(port), noDelay: true })));
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return proxy;
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** Since the last call. */
  takeBytes(): number {
    const { bytes } = this;
    this.bytes = 0;
    return bytes;
  }

  /** Once the target has sent so many more bytes, that connection is cut, and no other one; the last block of them (64 KB at most) is lost. */
  cutAfter(bytes: number): void {
    this.bytesUntilCut = bytes;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.server.close();
  }

  private join(near: Socket, far: Socket): void {
    near.setNoDelay();
    far.on('data', ({ length }: Buffer) => {
      this.bytesUntilCut -= length;
      if (this.bytesUntilCut > 0) return;
      this.bytesUntilCut = Infinity;
      near.destroy();
    });
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      from.on('data', (data: Buffer) => (this.bytes += data.length));
      from.on('error', () => undefined);
      from.on('close', () => to.destroy());
      from.pipe(to);
    }
  }
}
