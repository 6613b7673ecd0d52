import { readdir, readFile, readlink } from 'node:fs/promises';
import { basename } from 'node:path';

export interface PortOwner {
  pid: number;
  /** Name of its program. Not its arguments: they may hold secrets. */
  name: string;
}

/** State of a listening socket in /proc/net/tcp. */
const LISTENS = '0A';

/**
 * Finds the process that listens on a TCP port of this machine. Undefined where that cannot be known: on systems other than Linux, and for
 * processes of other users unless this one is root.
 */
export async function findListener(port: number): Promise<PortOwner | undefined> {
  const sockets = await listeningSockets(port);
  if (sockets.size === 0) return undefined;
  for (const entry of await readdir('/proc').catch(() => [])) {
    if (!/^\d+$/.test(entry) || !(await holdsOne(entry, sockets))) continue;
    const program = await readlink(`/proc/${entry}/exe`).catch(() => 'unknown');
    return { pid: Number(entry), name: basename(program) };
  }
  return undefined;
}

/** The sockets as links of /proc/<pid>/fd name them. */
async function listeningSockets(port: number): Promise<Set<string>> {
  const tables = await Promise.all(['tcp', 'tcp6'].map((table) => readFile(`/proc/net/${table}`, 'utf8').catch(() => '')));
  const suffix = `:${port.toString(16).toUpperCase().padStart(4, '0')}`;
  const rows = tables.flatMap((table) => table.split('\n').map((row) => row.trim().split(/\s+/)));
  const listening = rows.filter(([, local, , state]) => local?.endsWith(suffix) && state === LISTENS);
  return new Set(listening.map((row) => `socket:[${row[9]}]`));
}

async function holdsOne(pid: string, sockets: ReadonlySet<string>): Promise<boolean> {
  const folder = `/proc/${pid}/fd`;
  for (const fd of await readdir(folder).catch(() => [])) {
    if (sockets.has(await readlink(`${folder}/${fd}`).catch(() => ''))) return true;
  }
  return false;
}
