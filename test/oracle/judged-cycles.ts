import type { Device, SyncAnswer } from './device.js';
import { type Digest, differing, type Judge, type Moment } from './judge.js';
import type { Supervised } from './supervised.js';

/** What must not be, at one device. */
export class DeviceProblem extends Error {
  constructor(
    readonly device: Device,
    message: string,
  ) {
    super(`device ${device.mac}: ${message}`);
  }
}

/** Runs cycles of devices, and judges each when it has ended, whatever became of it. */
export class JudgedCycles {
  /** How often a device's tables were compared with a moment of central's. */
  comparisons = 0;
  rowsCompared = 0;
  /** Successes whose manifest's snapshot is not known: a definition was altered meanwhile. */
  notJudged = 0;

  constructor(
    private readonly judge: Judge,
    private readonly central: Supervised,
  ) {}

  /**
   * @param isHindered whether something between the device and central is made to fail
   * @returns the cycle's answer; undefined where the edge died
   * @throws DeviceProblem
   */
  async sync(device: Device, isHindered: boolean): Promise<SyncAnswer | undefined> {
    const services = [this.central, device.edge];
    const livesOf = (): number => services.reduce((sum, { lives }) => sum + lives, 0);
    const areSound = (): boolean => services.every(({ isSound }) => isSound);
    const lives = livesOf();
    const isQuiet = !isHindered && !device.isTroubled && areSound();
    const began = await this.judge.snapshot();
    const answer = await device.sync();
    const isSuccess = answer?.status === 'Success' || answer?.status === 'Unchanged';
    await this.judgeTables(device, isSuccess ? began : undefined);
    if (answer?.code === 'SCHEMA_MISMATCH') throw new DeviceProblem(device, `its tables differ: ${answer.detail}`);
    if (answer && !isSuccess && isQuiet && areSound() && livesOf() === lives) {
      throw new DeviceProblem(device, `a cycle fails that nothing disturbs: ${JSON.stringify(answer)}`);
    }
    device.isTroubled = !isSuccess;
    return answer;
  }

  /** @throws DeviceProblem that names the first rows that differ */
  async expectShare(device: Device, moment: Moment): Promise<void> {
    const { digests, manifestId, added } = device.held;
    const wrong = differing(await this.judge.share(device.mac, moment, added), digests);
    this.comparisons += 1;
    this.rowsCompared += digests.reduce((sum, { rows }) => sum + rows, 0);
    if (wrong.length === 0) return;
    const differences = await this.judge.explain(device, moment, wrong);
    const text = differences.map(({ table, rows }) => `table ${table} (- missing, + surplus):\n${rows.join('\n')}`);
    throw new DeviceProblem(device, `manifest ${manifestId} at ${moment}\n${text.join('\n')}`);
  }

  /** @param began when its cycle began, if that succeeded */
  private async judgeTables(device: Device, began: Moment | undefined): Promise<void> {
    const before = device.held;
    device.held = await this.judge.mirror(device.url);
    const { manifestId } = device.held;
    if (manifestId === undefined) {
      if (began !== undefined) throw new DeviceProblem(device, 'a cycle succeeds, and the device holds no manifest');
      return;
    }
    if (began === undefined && manifestId === before.manifestId) return expectSame(device, before.digests);
    const moment = await this.judge.momentOf(manifestId, began);
    if (moment === undefined) this.notJudged += 1;
    else await this.expectShare(device, moment);
  }
}

function expectSame(device: Device, digests: readonly Digest[]): void {
  const wrong = differing(digests, device.held.digests);
  if (wrong.length > 0) throw new DeviceProblem(device, `a cycle fails, and altered ${wrong.join(', ')}`);
}
