import { Body, Controller, Get, Header, HttpCode, Inject, Param, Post, Query as QueryParameter, Res } from '@nestjs/common';
import {
  type ForkReport,
  forkReportSchema,
  formatVerifierKey,
  readTilePath,
  sha256HexSchema,
  verifyCheckpoint,
  WaypostError,
} from '@waypost/contracts';
import { LOGGER, queryOn, withClient } from '@waypost/runtime';
import { ZodPipe } from '@waypost/runtime/service';
import type { FastifyReply } from 'fastify';
import type pg from 'pg';
import type { Logger } from 'pino';
import { z } from 'zod';
import { RequestAudit, type RequestFacts } from '../audit/request-audit.js';
import { LEDGER_POOL } from '../database/pools.js';
import { findOwnEntry, storeFork } from '../ledger/device-entries.js';
import { LedgerKeys } from '../ledger/ledger-keys.js';
import { LedgerTree } from '../ledger/ledger-tree.js';
import { Device, type DeviceIdentity, Facts } from './device.guard.js';
import { DeviceOperation } from './operation.js';

const sizeSchema = z.coerce.number().pipe(z.int().nonnegative());
const consistencySchema = z.object({ from: sizeSchema, to: sizeSchema });
const inclusionSchema = z.union([
  z.object({ receipt: sha256HexSchema, size: sizeSchema }),
  z.object({ index: sizeSchema, size: sizeSchema }),
]);

/** Two checkpoints fit. */
const MAX_FORK_BYTES = 64 << 10;
/** A tile never changes; a partial one is a part of what comes. */
const IMMUTABLE = 'private, max-age=31536000, immutable';

/** The ledger, for enrolled devices: all of its tree, and of its entries each device's own. */
@Controller('api/ledger')
export class LedgerController {
  constructor(
    @Inject(LEDGER_POOL) private readonly pool: pg.Pool,
    private readonly keys: LedgerKeys,
    private readonly audit: RequestAudit,
    @Inject(LOGGER) private readonly logger: Logger,
  ) {}

  /** The newest checkpoint that is committed, whichever process made it. */
  @Get('checkpoint')
  @DeviceOperation('ledger')
  @Header('content-type', 'text/plain; charset=utf-8')
  @Header('cache-control', 'no-store')
  async checkpoint(@Device() device: DeviceIdentity | undefined, @Facts() facts: RequestFacts): Promise<string> {
    this.begin(device, facts);
    const newest = await this.read((tree) => tree.newestCheckpoint());
    if (!newest) throw new WaypostError('LEDGER_NOT_FOUND', { detail: 'The ledger has no entry yet.' });
    return newest.note;
  }

  /** By which checkpoints are verified. */
  @Get('key')
  @DeviceOperation('ledger')
  async key(@Device() device: DeviceIdentity | undefined, @Facts() facts: RequestFacts): Promise<object> {
    this.begin(device, facts);
    const { origin, verifiers } = await this.keys.get();
    return { origin, keys: verifiers.map(formatVerifierKey) };
  }

  /** C2SP tlog-tiles, hashes alone: entries are for their devices. */
  @Get('tile/*')
  @DeviceOperation('ledger')
  async tile(
    @Param('*') rest: string,
    @Device() device: DeviceIdentity | undefined,
    @Facts() facts: RequestFacts,
    @Res() reply: FastifyReply,
  ): Promise<void> {
    this.begin(device, facts);
    const tile = readTilePath(`tile/${rest}`);
    const { level } = tile ?? {};
    const hashes = tile && typeof level === 'number' ? await this.read((tree) => tree.tile({ ...tile, level })) : undefined;
    if (!hashes) throw new WaypostError('LEDGER_NOT_FOUND', { detail: 'The ledger has no such tile.' });
    await reply.status(200).headers({ 'content-type': 'application/octet-stream', 'cache-control': IMMUTABLE }).send(hashes);
  }

  @Get('proof/consistency')
  @DeviceOperation('ledger')
  async consistency(
    @QueryParameter(new ZodPipe(consistencySchema)) { from, to }: z.infer<typeof consistencySchema>,
    @Device() device: DeviceIdentity | undefined,
    @Facts() facts: RequestFacts,
  ): Promise<object> {
    this.begin(device, facts);
    const proof = await this.read((tree) => tree.consistencyProof(from, to));
    return { from, to, proof: proof.map((hash) => hash.toString('base64')) };
  }

  /** Of a leaf of the device's own, named by its index, or by the SHA-256 of the receipt. */
  @Get('proof/inclusion')
  @DeviceOperation('ledger')
  async inclusion(
    @QueryParameter(new ZodPipe(inclusionSchema)) asked: z.infer<typeof inclusionSchema>,
    @Device() device: DeviceIdentity | undefined,
    @Facts() facts: RequestFacts,
  ): Promise<object> {
    const deviceId = this.begin(device, facts);
    return withClient(this.pool, async (client) => {
      const query = queryOn(client);
      const found = await findOwnEntry(query, asked, deviceId);
      if (!found || found.index >= asked.size)
        throw new WaypostError('LEDGER_NOT_FOUND', { detail: `The ledger of ${asked.size} leaves has no such entry of this device.` });
      const proof = await new LedgerTree(query).inclusionProof(found.index, asked.size);
      return { ...found, size: asked.size, proof: proof.map((hash) => hash.toString('base64')) };
    });
  }

  /** A device says that the ledger does not continue what it saw of it. */
  @Post('forks')
  @DeviceOperation('ledger', { maxBodyBytes: MAX_FORK_BYTES })
  @HttpCode(204)
  async fork(
    @Body(new ZodPipe(forkReportSchema)) { seen, received, reason, receipt }: ForkReport,
    @Device() device: DeviceIdentity | undefined,
    @Facts() facts: RequestFacts,
  ): Promise<void> {
    const deviceId = idOf(device);
    const { origin, verifiers } = await this.keys.get();
    const isSigned = [seen, received].every((note) => isSignedBy(note, { origin, keys: verifiers }));
    const report = { seen, received, reason, receipt };
    const isNew = await withClient(this.pool, (client) => storeFork(queryOn(client), report, { deviceId, isSigned }));
    if (!isNew) return this.audit.count(facts, null);
    await this.audit.reported(facts, 'LEDGER_FORKED');
    this.logger.error(
      { mac: device?.mac, deviceId, reason, receipt, isSigned, seen, received },
      'a device says that the ledger does not continue what it saw of it',
    );
  }

  private read<T>(work: (tree: LedgerTree) => Promise<T>): Promise<T> {
    return withClient(this.pool, (client) => work(new LedgerTree(queryOn(client))));
  }

  /** @returns the device's id @throws WaypostError AUTH_REQUIRED for a device that has not enrolled */
  private begin(device: DeviceIdentity | undefined, facts: RequestFacts): string {
    const deviceId = idOf(device);
    this.audit.count(facts, null);
    return deviceId;
  }
}

function idOf(device: DeviceIdentity | undefined): string {
  if (device?.deviceId !== undefined) return device.deviceId;
  throw new WaypostError('AUTH_REQUIRED', { detail: 'The ledger is for devices that have enrolled.' });
}

function isSignedBy(note: string, keys: Parameters<typeof verifyCheckpoint>[1]): boolean {
  try {
    verifyCheckpoint(note, keys);
    return true;
  } catch {
    return false;
  }
}
