import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer as createPlain, get as getPlain, type IncomingMessage, type RequestListener, type Server } from 'node:http';
import { createServer as createTls, get as getTls } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import { resetConnection, trackTransports } from '@waypost/runtime/service';
import { newAuthority, newCertificate } from './support/certificates.js';
import { until } from './support/until.js';

const MUCH = Buffer.alloc(64 << 20);

/** A server that sends more than a connection holds, and the socket that it sends on. */
class Sender {
  socket!: Socket;

  readonly answer: RequestListener = (request, response) => {
    this.socket = request.socket;
    response.on('error', () => undefined).end(MUCH);
  };
}

async function startTls(answer: RequestListener): Promise<Server> {
  const authority = await newAuthority();
  const { certificate, key } = await newCertificate(authority);
  return createTls({ cert: certificate, key }, answer);
}

const cases: [string, (answer: RequestListener) => Promise<Server>, typeof getPlain][] = [
  ['plain', (answer) => Promise.resolve(createPlain(answer)), getPlain],
  ['TLS', startTls, getTls],
];

test.each(cases)('over %s nothing is left to send after a reset, and much after an end', async (_, start, get) => {
  const sender = new Sender();
  const server = await start(sender.answer);
  trackTransports(server);
  try {
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    const openAnswer = async (): Promise<{ answer: IncomingMessage; clientPort: number }> => {
      const asked = get({ port, host: '127.0.0.1', rejectUnauthorized: false, agent: false } as object).on('error', () => undefined);
      const [answer] = (await once(asked, 'response')) as [IncomingMessage];
      answer.on('error', () => undefined);
      const { localPort } = answer.socket;
      await until(async () => ((await unsentBytes(port, localPort!)) ?? 0) > 0);
      return { answer, clientPort: localPort as number };
    };

    const ended = await openAnswer();
    sender.socket.destroy();
    await once(sender.socket, 'close');
    expect(await unsentBytes(port, ended.clientPort)).toBeGreaterThan(0);
    ended.answer.destroy();

    const reset = await openAnswer();
    resetConnection(sender.socket);
    await once(sender.socket, 'close');
    await until(async () => (await unsentBytes(port, reset.clientPort)) === undefined);
    reset.answer.destroy();
  } finally {
    server.closeAllConnections();
    server.close();
  }
});

/** What the kernel still has to send from one port of this machine to another; undefined where there is no connection. */
async function unsentBytes(from: number, to: number): Promise<number | undefined> {
  const ends = `${hexOf(from)} 0100007F:${hexOf(to)} `;
  const line = (await readFile('/proc/net/tcp', 'utf8')).split('\n').find((text) => text.includes(`0100007F:${ends}`));
  return line === undefined ? undefined : parseInt(line.trim().split(/\s+/)[4]!.split(':')[0]!, 16);
}

const hexOf = (port: number): string => port.toString(16).toUpperCase().padStart(4, '0');
