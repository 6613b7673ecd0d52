import { EmbeddedPostgresError } from './postgres/embedded-postgres-error.js';
import { bringUp } from './start/bring-up.js';
import { formatReport } from './start/report.js';
import { Running } from './start/running.js';
import { StartError } from './start/settings.js';

/**
 * npm start: runs until a signal, or until something ends that should not. However it ends, nothing is left running.
 * Exit code 0 after a signal, 1 after a failure.
 */
async function main(): Promise<void> {
  const interruption = new AbortController();
  const { signal } = interruption;
  // npm passes on the signal that the terminal has sent already, so a second one says nothing new.
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(name, () => {
      if (!signal.aborted) say(`${name}, stopping …`);
      interruption.abort();
    });
  }
  // Without a terminal there is nothing to write to, but still something to stop.
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => undefined);

  const running = new Running();
  try {
    process.stdout.write(formatReport(await bringUp({ running, signal, say })));
    await running.unlessFailed(aborted(signal));
  } catch (error) {
    if (!signal.aborted) complain(error);
  }
  const { problems, stopped } = await running.stopAll();
  for (const problem of problems) complain(problem);
  if (stopped > 0) say('stopped');
  process.exit();
}

async function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
}

function say(line: string): void {
  process.stdout.write(`waypost: ${line}\n`);
}

function complain(error: unknown): void {
  process.exitCode = 1;
  const known = error instanceof StartError || error instanceof EmbeddedPostgresError;
  process.stderr.write(`waypost: ${known ? error.message : error instanceof Error ? error.stack : String(error)}\n`);
  if (error instanceof EmbeddedPostgresError) process.stderr.write(`Hint: ${error.hint}\n`);
}

await main();
