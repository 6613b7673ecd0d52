import { once } from 'node:events';
import { type AddressInfo, connect, createServer } from 'node:net';
import { buffer } from 'node:stream/consumers';
import { CountingProxy } from './counting-proxy.js';

const ANSWER = Buffer.alloc(1_000_000, 'x');

/** A target that answers whatever it is sent with a megabyte, and hangs up. */
async function startTarget(): Promise<{ url: string } & Disposable> {
  const server = createServer((socket) => {
    socket.on('error', () => undefined);
    socket.once('data', () => socket.end(ANSWER));
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, [Symbol.dispose]: () => void server.close() };
}

async function ask(proxy: CountingProxy, question: string): Promise<number> {
  const socket = connect(proxy.port, '127.0.0.1');
  socket.write(question);
  return (await buffer(socket)).length;
}

test('the bytes of both ways are counted, from one reading to the next', async () => {
  using target = await startTarget();
  await using proxy = await CountingProxy.start(target.url);
  expect(await ask(proxy, 'hello')).toBe(ANSWER.length);
  expect(proxy.takeBytes()).toBe(ANSWER.length + 5);
  expect(proxy.takeBytes()).toBe(0);
});

test('one connection is cut, and those after it are not', async () => {
  using target = await startTarget();
  await using proxy = await CountingProxy.start(target.url);
  await ask(proxy, 'before');
  proxy.takeBytes();
  proxy.cutAfter(ANSWER.length * 0.9);
  expect(await ask(proxy, 'cut')).toBeLessThan(ANSWER.length * 0.9);
  expect(proxy.takeBytes()).toBeGreaterThanOrEqual(ANSWER.length * 0.9);
  expect(await ask(proxy, 'after')).toBe(ANSWER.length);
});
