import { type ChildProcess, spawn } from 'node:child_process';
import type { Socket } from 'node:net';
import { identity, serverEnvironment, type RunAs } from './run-as.js';

/**
 * `read` returns when the parent is gone. The server is told apart from a later process of that pid by its postmaster.pid;
 * one that was just started writes it in a moment.
 */
const SCRIPT = `
read -r _
tries=100
while [ $tries -gt 0 ] && kill -0 "$1" 2>/dev/null; do
  read -r pid 2>/dev/null <"$2/postmaster.pid" && [ "$pid" = "$1" ] && exec kill -INT "$1"
  tries=$((tries - 1))
  sleep 0.1
done`;

/**
 * Shuts the server down (fast) when this process ends without having stopped it, by SIGKILL too. A small shell in a session of its own waits for that;
 * it ends with the server, and does not keep this process alive.
 * @param dataDir the server's data folder
 * @param user whom the server runs as: the shell can signal no other user's processes
 */
export function endWithParent(server: ChildProcess, dataDir: string, user: RunAs): void {
  if (server.pid === undefined) return;
  const shell = spawn('/bin/sh', ['-c', SCRIPT, 'sh', String(server.pid), dataDir], {
    ...identity(user),
    cwd: '/',
    env: serverEnvironment(),
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore'],
  });
  // Without it a killed process leaves its server, which the next start shuts down.
  shell.on('error', () => undefined);
  shell.stdin.on('error', () => undefined);
  shell.unref();
  (shell.stdin as Socket).unref();
  server.once('exit', () => shell.kill());
}
