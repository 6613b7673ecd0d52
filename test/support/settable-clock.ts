import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

/** The wall clock of a service that was started with `env`. */
export class SettableClock {
  private constructor(private readonly file: string) {}

  static async make(folder: string, name: string): Promise<SettableClock> {
    const clock = new SettableClock(join(folder, `${name}.clock`));
    await clock.shift(0);
    return clock;
  }

  get env(): Record<string, string> {
    const preload = pathToFileURL(join(import.meta.dirname, 'preload-clock.mjs')).href;
    return { NODE_OPTIONS: `--import=${preload}`, CLOCK_OFFSET_FILE: this.file };
  }

  /** From now on the clock is off by so much. */
  async shift(ms: number): Promise<void> {
    await writeFile(this.file, String(ms));
  }

  async setTo(time: Date): Promise<void> {
    await this.shift(time.getTime() - Date.now());
  }
}
