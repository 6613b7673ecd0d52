import {
  type AckResponse,
  inclusionAnswerSchema,
  type Manifest,
  openManifest,
  parseVerifierKey,
  type Problem,
  type SignedReceipt,
  type VerifiedCheckpoint,
  verifyCheckpoint,
} from '@waypost/contracts';
import { LedgerAppender } from '../src/ledger/ledger-appender.js';
import { invite } from '../src/read-models/identities.js';
import type { Answer } from './central.js';
import { DeviceClient } from './device-client.js';
import type { OwnCentral } from './own-central.js';
import { ReceiptMaker } from './receipts.js';

/** A device that is enrolled, and what it sends. */
export class LedgerDevice {
  headers!: { authorization: string };
  readonly receipts: ReceiptMaker;

  private constructor(
    private readonly central: OwnCentral,
    readonly client: DeviceClient,
  ) {
    this.receipts = new ReceiptMaker(client);
  }

  static async enroll(central: OwnCentral, mac: string): Promise<LedgerDevice> {
    const wanted = { mac, name: undefined, uses: 1, lifeMs: 3_600_000, needsApproval: false, by: 'test' };
    const { token } = await invite((text, values) => central.sql(text, values), wanted);
    const device = new LedgerDevice(central, new DeviceClient(central, mac));
    const { status } = await device.client.enroll(token);
    if (status !== 200) throw new Error(`central answered an enrollment with ${status}`);
    device.headers = await device.client.authorization();
    return device;
  }

  async manifest(): Promise<Manifest> {
    await this.central.sql('UPDATE vaults SET balance = balance + 1');
    return openManifest((await this.ask()).body.manifest);
  }

  ask(more: object = {}): Promise<Answer<{ manifest: unknown }>> {
    return this.central.post('/api/device-sync/request', { mac: this.client.mac, ...more }, this.headers);
  }

  send(ack: object): Promise<Answer<AckResponse & Problem>> {
    return this.central.post('/api/device-sync/ack', ack, this.headers);
  }

  get(path: string): Promise<Response> {
    return fetch(`${this.central.url}/api/ledger/${path}`, { headers: this.headers });
  }

  /** Acknowledges a new manifest. @returns its receipt */
  async acknowledge(): Promise<SignedReceipt> {
    const manifest = await this.manifest();
    const ack = this.receipts.ack(manifest);
    const { status } = await this.send(ack);
    if (status !== 200) throw new Error(`central answered an ack with ${status}`);
    return ack.receipts![0] as SignedReceipt;
  }

  async checkpoint(): Promise<VerifiedCheckpoint> {
    const { origin, keys } = (await (await this.get('key')).json()) as { origin: string; keys: string[] };
    return verifyCheckpoint(await (await this.get('checkpoint')).text(), { origin, keys: keys.map(parseVerifierKey) });
  }

  async inclusion(asked: string, size: number) {
    return inclusionAnswerSchema.parse(await (await this.get(`proof/inclusion?${asked}&size=${size}`)).json());
  }
}

/** Returns when all that is queued is in the ledger. Another run may be appending at this moment. */
export async function appendAll(central: OwnCentral): Promise<void> {
  do await central.app.get(LedgerAppender).run();
  while ((await central.sql('SELECT FROM waypost.ledger_queue')).length > 0);
}
