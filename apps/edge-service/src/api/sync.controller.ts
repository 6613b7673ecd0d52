import { Body, Controller, Get, HttpCode, Post, Req, Res } from '@nestjs/common';
import { PROBLEM_TYPE, toProblem } from '@waypost/contracts';
import { parseMessage } from '@waypost/runtime/service';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';
import type { CycleReport } from '../phase/cycle.js';
import { CycleRunner } from '../cycle/cycle-runner.js';
import { Scrubber } from '../scrub/scrubber.js';
import { type StatusReport, SyncStatus } from '../status/sync-status.js';

const syncNowSchema = z.object({
  /** Hash all mirrored tables again, and replace those that drifted. */
  verify: z.boolean().default(false),
});

@Controller('api/sync')
export class SyncController {
  constructor(
    private readonly runner: CycleRunner,
    private readonly status: SyncStatus,
    private readonly scrubber: Scrubber,
  ) {}

  /** Waits for the cycle. A failed one answers as the problem that it met, with what is known of the cycle beside. */
  @Post('now')
  @HttpCode(200)
  async syncNow(@Body() body: unknown, @Req() request: FastifyRequest, @Res({ passthrough: true }) reply: FastifyReply): Promise<object> {
    const { verify } = parseMessage(syncNowSchema, body || {});
    const report = await this.runner.run({ trigger: 'request', verify });
    const facts = factsOf(report);
    if (!report.error) return { status: report.status, ...facts };
    void reply.status(report.error.status).header('content-type', PROBLEM_TYPE);
    return { ...toProblem(report.error, request.id), ...facts };
  }

  /** Waits for the scrub, and for the cycle that puts right what it found. */
  @Post('scrub')
  @HttpCode(200)
  async scrub(): Promise<object> {
    const { repair, ...report } = await this.scrubber.run('request');
    const outcome = repair && { ...factsOf(repair), status: repair.status, ...(repair.error ? { error: repair.error.code } : {}) };
    return { ...report, ...(outcome ? { repair: outcome } : {}) };
  }

  @Get('status')
  async getStatus(): Promise<StatusReport> {
    return this.status.report();
  }
}

function factsOf({ cycleId, progress, durationMs, tables }: CycleReport): object {
  return {
    cycleId,
    manifestId: progress.manifestId ?? null,
    sequence: progress.sequence ?? null,
    durationMs,
    downloadedBytes: progress.downloadedBytes,
    // Loaded ones were read back in this cycle; the others when they were loaded, or in this cycle if it was asked to verify.
    tables: tables.map((table) => ({ ...table, verified: true })),
    ack: progress.ack,
  };
}
