import type { Right } from '@waypost/contracts';
import { queryOn, withClient } from '@waypost/runtime';
import pg from 'pg';
import { invite, revoke } from '../src/read-models/identities.js';
import { addKey, revokeKey } from '../src/read-models/program-keys.js';
import type { OwnCentral } from './own-central.js';
import { DeviceClient } from './device-client.js';

/** What operators do at central's database with `waypost device` and `waypost key`. */
export class Operators implements AsyncDisposable {
  private readonly pool: pg.Pool;

  constructor(private readonly central: OwnCentral) {
    this.pool = new pg.Pool({ connectionString: central.databaseUrl, max: 1 }).on('error', () => undefined); // the server may end first
  }

  /** A one-time token. */
  async tokenFor(mac: string): Promise<string> {
    const wanted = { mac, name: undefined, uses: 1, lifeMs: 3_600_000, needsApproval: false, by: 'test' };
    return (await withClient(this.pool, (client) => invite(queryOn(client), wanted))).token;
  }

  async enrolled(mac: string): Promise<DeviceClient> {
    const device = new DeviceClient(this.central, mac);
    const { status } = await device.enroll(await this.tokenFor(mac));
    if (status !== 200) throw new Error(`the device was not enrolled: ${status}`);
    return device;
  }

  async revokeDevice({ enrolled }: DeviceClient): Promise<void> {
    await withClient(this.pool, (client) => revoke(queryOn(client), enrolled!.deviceId));
  }

  async key(name: string, rights: readonly Right[], lifeMs = 3_600_000): Promise<{ id: string; secret: string }> {
    const { key, secret } = await withClient(this.pool, (client) => addKey(queryOn(client), { name, rights, lifeMs, by: 'test' }));
    return { id: key.id, secret };
  }

  async revokeKey(id: string): Promise<void> {
    await withClient(this.pool, (client) => revokeKey(queryOn(client), id));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.pool.end();
  }
}
