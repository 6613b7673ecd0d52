import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';

export type Operation = 'request' | 'download' | 'ack';

/** What becomes of one operation. Bytes are counted from the start of its answer, the head included. */
export type Fault =
  /** The connection is reset; central never hears of the request. */
  | { kind: 'refuse' }
  /** So much of the answer comes, then nothing, for ever. */
  | { kind: 'stall'; afterBytes: number }
  /** As `stall`, and neither side ever hears that the other one has ended: a router that lost its power. */
  | { kind: 'halfOpen'; afterBytes: number }
  /** So much comes, then the connection ends on both sides. */
  | { kind: 'cut'; afterBytes: number }
  /** The answer comes in single bytes. */
  | { kind: 'drip'; everyMs: number }
  /** The request's bytes reach central a second time, on a connection of their own. */
  | { kind: 'duplicate' }
  /** A bit of the answer's, or the request's, byte at this place is turned over; from the end of each piece where it is negative. */
  | { kind: 'flip'; of: 'answer' | 'request'; at: number };

const OPERATIONS: readonly [RegExp, Operation][] = [
  [/^POST \/api\/device-sync\/request /, 'request'],
  [/^GET \/api\/device-sync\/manifests\//, 'download'],
  [/^POST \/api\/device-sync\/ack /, 'ack'],
];

/** A TCP proxy on loopback before central. It passes everything on, but for operations that have a fault. Disposing of it ends all connections. */
export class HostileProxy implements AsyncDisposable {
  readonly faults = new Map<Operation, Fault>();
  /** What was asked for, in order: the operation and the Range header. */
  readonly asked: { operation: Operation; range: string | undefined }[] = [];
  private readonly sockets = new Set<Socket>();

  private constructor(
    private readonly server: Server,
    readonly url: string,
  ) {}

  static async start(upstreamUrl: string): Promise<HostileProxy> {
    const upstreamPort = Number(new URL(upstreamUrl).port);
    const server = createServer((client) => proxy.accept(client, upstreamPort));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const proxy = new HostileProxy(server, `http://127.0.0.1:${(server.address() as AddressInfo).port}`);
    return proxy;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.sockets) socket.destroy();
    await new Promise((resolve) => this.server.close(resolve));
  }

  private accept(client: Socket, upstreamPort: number): void {
    this.keep(client);
    const link = new Link(client, () => this.keep(connect(upstreamPort, '127.0.0.1')));
    client.on('data', (bytes) => {
      const head = bytes.toString('latin1');
      const operation = OPERATIONS.find(([pattern]) => pattern.test(head))?.[1];
      if (operation) {
        this.asked.push({ operation, range: /^range: (.*)\r$/im.exec(head)?.[1] });
        link.begin(this.faults.get(operation));
      }
      link.toCentral(bytes);
    });
  }

  private keep(socket: Socket): Socket {
    this.sockets.add(socket);
    socket.on('error', () => undefined).on('close', () => this.sockets.delete(socket));
    return socket;
  }
}

/** One connection of the device, and the one to central that belongs to it. */
class Link {
  private readonly upstream: Socket;
  private copy: Socket | undefined;
  private fault: Fault | undefined;
  private requestBytes = 0;
  private answerBytes = 0;
  private silent = false;

  constructor(
    private readonly client: Socket,
    private readonly open: () => Socket,
  ) {
    this.upstream = open();
    this.upstream.on('data', (bytes) => this.toDevice(bytes));
    this.upstream.on('close', () => {
      if (!this.silent) client.destroy();
    });
    client.on('close', () => {
      if (this.fault?.kind !== 'halfOpen') this.upstream.destroy();
    });
    client.on('drain', () => this.upstream.resume());
  }

  /** A new request starts on this connection. */
  begin(fault: Fault | undefined): void {
    this.fault = fault;
    this.requestBytes = 0;
    this.answerBytes = 0;
    this.copy = fault?.kind === 'duplicate' ? this.open().resume() : undefined;
  }

  toCentral(bytes: Buffer): void {
    if (this.fault?.kind === 'refuse') {
      this.client.resetAndDestroy();
      return;
    }
    if (this.fault?.kind === 'flip' && this.fault.of === 'request') turnBit(bytes, this.fault.at, this.requestBytes);
    this.requestBytes += bytes.length;
    this.copy?.write(bytes);
    this.upstream.write(bytes);
  }

  private toDevice(bytes: Buffer): void {
    const { fault } = this;
    const left = fault && 'afterBytes' in fault ? Math.max(0, fault.afterBytes - this.answerBytes) : Infinity;
    if (fault?.kind === 'flip' && fault.of === 'answer') turnBit(bytes, fault.at, this.answerBytes);
    this.answerBytes += bytes.length;
    if (fault?.kind === 'drip') return this.drip(bytes, fault.everyMs);
    if (left >= bytes.length) {
      if (!this.client.write(bytes)) this.upstream.pause();
      return;
    }
    if (left > 0) this.client.write(bytes.subarray(0, left));
    if (fault?.kind === 'cut') {
      this.client.end();
      this.upstream.destroy();
      return;
    }
    this.silent = true;
    if (fault?.kind === 'halfOpen') this.upstream.pause();
  }

  private drip(bytes: Buffer, everyMs: number): void {
    this.upstream.pause();
    this.silent = true;
    let at = 0;
    const timer = setInterval(() => {
      if (this.client.destroyed || at === bytes.length) return clearInterval(timer);
      this.client.write(bytes.subarray(at, (at += 1)));
    }, everyMs);
    this.client.once('close', () => clearInterval(timer));
  }
}

function turnBit(bytes: Buffer, at: number, before: number): void {
  const place = at < 0 ? bytes.length + at : at - before;
  if (place >= 0 && place < bytes.length) bytes.writeUInt8(bytes.readUInt8(place) ^ 0x04, place);
}
