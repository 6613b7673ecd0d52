import { Inject, Injectable, type OnApplicationBootstrap } from '@nestjs/common';
import { LOGGER } from '@waypost/runtime';
import { PeriodicTasks } from '@waypost/runtime/service';
import type { Logger } from 'pino';
import { DeviceDirectory } from '../identity/device-directory.js';
import type { DeviceIdentity } from './device.guard.js';
import { Traffic } from './traffic.js';

/** A request was checked when it came; one that is answered for longer is checked again and again. */
const CHECK_EVERY_MS = 2000;

/** Ends what a device is being sent when it is revoked, or its key retired, within seconds. */
@Injectable()
export class RevocationWatch implements OnApplicationBootstrap {
  constructor(
    private readonly tasks: PeriodicTasks,
    private readonly traffic: Traffic,
    private readonly directory: DeviceDirectory,
    @Inject(LOGGER) private readonly logger: Logger,
  ) {}

  onApplicationBootstrap(): void {
    this.tasks.start({
      name: 'watch revocations',
      run: () => this.check(),
      waitMs: CHECK_EVERY_MS,
      failure: 'long answers could not be compared with revocations',
    });
  }

  /** While the database is away nothing is aborted: what is being sent was allowed. */
  private async check(): Promise<void> {
    const long = this.traffic.answeredFor(CHECK_EVERY_MS);
    const allowed = await Promise.all(long.map(({ device }) => this.isAllowed(device)));
    for (const [at, { device, abort }] of long.entries()) {
      if (allowed[at]) continue;
      this.logger.warn(
        { mac: device.mac, deviceId: device.deviceId },
        'an answer was aborted: its device was revoked, or uses another key by now',
      );
      abort();
    }
  }

  private async isAllowed({ mac, key }: DeviceIdentity): Promise<boolean> {
    return key === undefined ? !(await this.directory.needsKey(mac)) : (await this.directory.findKey(key))?.isApproved === true;
  }
}
