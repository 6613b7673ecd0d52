import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { text } from 'node:stream/consumers';

const PROMTOOL = (process.env['PATH'] ?? '')
  .split(delimiter)
  .map((folder) => join(folder, 'promtool'))
  .find((path) => existsSync(path));

/**
 * A test that needs promtool (Debian: apt-get install --no-install-recommends prometheus). Skipped with a word where it is not on PATH, unless
 * REQUIRE_PROMTOOL=1.
 */
export function testWithPromtool(title: string, run: () => Promise<void>): void {
  if (PROMTOOL || process.env['REQUIRE_PROMTOOL'] === '1') return test(title, run);
  test.skip(`${title} (skipped: promtool is not on PATH)`, run);
}

/** Runs promtool, and returns what it says; throws with that when it is not content. */
export async function promtool(args: readonly string[], input = ''): Promise<string> {
  if (!PROMTOOL) throw new Error('promtool is not on PATH, and REQUIRE_PROMTOOL=1 asks for it');
  const child = spawn(PROMTOOL, args, { stdio: 'pipe' });
  const ended = new Promise<number | null>((resolve, reject) => child.once('error', reject).once('close', resolve));
  child.stdin.end(input);
  const [output, complaints] = await Promise.all([text(child.stdout), text(child.stderr)]);
  // `check metrics` complains of style with exit code 3.
  if ((await ended) !== 0) throw new Error(`promtool ${args.join(' ')}:\n${output}${complaints}`);
  return output;
}
