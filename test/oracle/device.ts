import { join } from 'node:path';
import { HostileProxy } from '../support/hostile-proxy.js';
import { post } from '../support/service.js';
import { until } from '../support/until.js';
import type { Held } from './judge.js';
import { Supervised } from './supervised.js';

export interface SyncAnswer {
  status: string | number;
  code?: string;
  detail?: string;
}

interface Options {
  mac: string;
  /** Of the role that the service connects as. */
  databaseUrl: string;
  /** For the judge. */
  adminUrl: string;
  centralUrl: string;
  folder: string;
  nextFaults: () => string;
}

/** One edge service, with its database, and the network between it and central. */
export class Device implements AsyncDisposable {
  /** As the judge saw it after the last cycle. */
  held: Held = { manifestId: undefined, digests: [], added: {} };
  /** Something failed since its last success: its next cycles may find the breaker open. */
  isTroubled = false;

  private constructor(
    readonly mac: string,
    readonly url: string,
    readonly network: HostileProxy,
    readonly edge: Supervised,
  ) {}

  static async start({ mac, databaseUrl, adminUrl, centralUrl, folder, nextFaults }: Options): Promise<Device> {
    const network = await HostileProxy.start(centralUrl);
    const env = {
      DATABASE_URL: databaseUrl,
      CENTRAL_URL: network.url,
      DEVICE_MAC: mac,
      SYNC_INTERVAL: '0',
      STALL_TIMEOUT: '5s',
      DOWNLOAD_DIR: folder,
      IDENTITY_DIR: join(folder, 'identity'),
    };
    const edge = await Supervised.start({ name: 'edge-service', env, nextFaults });
    return new Device(mac, adminUrl, network, edge);
  }

  /** Runs a cycle to its end. @returns what it answered; undefined when the service died meanwhile */
  async sync(): Promise<SyncAnswer | undefined> {
    let answer: SyncAnswer | undefined;
    await this.edge.ready();
    await until(async () => {
      answer = (await post<SyncAnswer>(`${this.edge.url}/api/sync/now`).catch(() => undefined))?.body;
      // PostgreSQL has not noticed yet that the process before this one is gone: no cycle was run.
      return answer?.code !== 'SYNC_RUNNING';
    });
    return answer;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.edge[Symbol.asyncDispose]();
    await this.network[Symbol.asyncDispose]();
  }
}
