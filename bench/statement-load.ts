import { Socket } from 'node:net';
import pg from 'pg';

/** Statements of one transaction, each with at most one parameter: a bigint that the transaction has drawn. */
export type Script = readonly { text: string; takesId: boolean }[];

interface LoadOptions {
  url: string;
  script: Script;
  connections: number;
  /** Of each session, as `-c name=value`. */
  settings: Record<string, string>;
  /** The load ends then … */
  seconds: number;
  /** … or when this gives no more. */
  nextId: () => bigint | undefined;
}

const READY = 0x5a; // 'Z'
const ERROR = 0x45; // 'E'
const HEADER_BYTES = 5;
const ID_BYTES = 8;
/** The type's oid. */
const BIGINT = Buffer.from([0, 0, 0, 20]);

/**
 * Runs a script over and over on several connections, each statement prepared and sent by itself, as `pgbench -M prepared` does. Node's client for PostgreSQL
 * would cost more than a small statement: after its login the messages are written by hand, and answers only counted.
 * @returns scripts that were done per second
 * @throws Error when a statement fails
 */
export async function runScript({ url, script, connections, settings, seconds, nextId }: LoadOptions): Promise<number> {
  const options = Object.entries(settings)
    .map(([name, value]) => `-c ${name}=${value}`)
    .join(' ');
  const sessions = await Promise.all(Array.from({ length: connections }, () => logIn(url, options)));
  try {
    const startedAt = performance.now();
    const endsAt = startedAt + seconds * 1000;
    const draw = (): bigint | undefined => (performance.now() < endsAt ? nextId() : undefined);
    const done = await Promise.all(sessions.map((socket) => repeat(socket, script, draw)));
    return (done.reduce((sum, count) => sum + count, 0) * 1000) / (performance.now() - startedAt);
  } finally {
    for (const socket of sessions) socket.destroy();
  }
}

async function logIn(url: string, options: string): Promise<Socket> {
  const socket = new Socket();
  const client = new pg.Client({ connectionString: url, options, stream: () => socket });
  client.on('error', () => undefined);
  await client.connect();
  socket.removeAllListeners('data');
  return socket;
}

/** @returns how often the script was run to its end */
async function repeat(socket: Socket, script: Script, draw: () => bigint | undefined): Promise<number> {
  const messages = script.map(({ takesId }, at) => executeMessage(`s${at}`, takesId));
  // Preparing is what comes before the first statement.
  let done = -1;
  let at = script.length - 1;
  let rest: Buffer = Buffer.alloc(0);
  await new Promise<void>((resolve, reject) => {
    const send = (): void => {
      if (at === 0) {
        const id = draw();
        if (id === undefined) return resolve();
        for (const { bytes, idAt } of messages) if (idAt !== undefined) bytes.writeBigInt64BE(id, idAt);
      }
      socket.write(Buffer.from(messages[at]!.bytes));
    };
    socket.on('data', (data: Buffer) => {
      rest = rest.length === 0 ? data : Buffer.concat([rest, data]);
      let from = 0;
      while (rest.length - from >= HEADER_BYTES) {
        const end = from + 1 + rest.readUInt32BE(from + 1);
        if (end > rest.length) break;
        const type = rest[from];
        if (type === ERROR) return reject(new Error(`PostgreSQL refused: ${rest.toString('utf8', from + HEADER_BYTES, end)}`));
        from = end;
        if (type !== READY) continue;
        at = (at + 1) % messages.length;
        if (at === 0) done += 1;
        send();
      }
      rest = rest.subarray(from);
    });
    socket.once('error', reject);
    socket.once('close', () => reject(new Error('PostgreSQL closed a connection.')));
    socket.write(Buffer.concat([...script.map(({ text, takesId }, number) => parseMessage(`s${number}`, text, takesId)), message('S')]));
  });
  return done;
}

function parseMessage(statement: string, text: string, takesId: boolean): Buffer {
  return message('P', Buffer.from(`${statement}\0${text}\0`), takesId ? Buffer.concat([int16(1), BIGINT]) : int16(0));
}

/** Bind, Execute and Sync of the protocol in one. */
function executeMessage(statement: string, takesId: boolean): { bytes: Buffer; idAt?: number } {
  const names = Buffer.from(`\0${statement}\0`);
  const bind = takesId
    ? message('B', names, int16(1, 1, 1), Buffer.from([0, 0, 0, ID_BYTES]), Buffer.alloc(ID_BYTES), int16(0))
    : message('B', names, int16(0, 0, 0));
  const bytes = Buffer.concat([bind, message('E', Buffer.alloc(5)), message('S')]);
  return takesId ? { bytes, idAt: bind.length - 2 - ID_BYTES } : { bytes };
}

function message(type: string, ...parts: Buffer[]): Buffer {
  const body = Buffer.concat(parts);
  const head = Buffer.alloc(HEADER_BYTES);
  head.write(type, 'latin1');
  head.writeUInt32BE(body.length + 4, 1);
  return Buffer.concat([head, body]);
}

function int16(...values: number[]): Buffer {
  const buffer = Buffer.alloc(values.length * 2);
  for (const [at, value] of values.entries()) buffer.writeInt16BE(value, at * 2);
  return buffer;
}
