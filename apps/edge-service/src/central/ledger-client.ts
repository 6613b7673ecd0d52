import { Injectable } from '@nestjs/common';
import {
  consistencyAnswerSchema,
  type ForkReport,
  inclusionAnswerSchema,
  LEDGER_PATH,
  ledgerKeyAnswerSchema,
  WaypostError,
} from '@waypost/contracts';
import type { z } from 'zod';
import { CentralClient } from './central-client.js';

/** Central's ledger over HTTP. */
@Injectable()
export class LedgerClient {
  constructor(private readonly central: CentralClient) {}

  /** The keys that central names for its ledger. */
  keys(signal: AbortSignal): Promise<z.infer<typeof ledgerKeyAnswerSchema>> {
    return this.get('key', ledgerKeyAnswerSchema, signal);
  }

  /** The newest checkpoint of central's database, unchecked. */
  async checkpoint(signal: AbortSignal): Promise<string> {
    return (await this.central.getText(`${LEDGER_PATH}/checkpoint`, signal)).text;
  }

  async consistencyProof(from: number, to: number, signal: AbortSignal): Promise<Buffer[]> {
    return (await this.get(`proof/consistency?from=${from}&to=${to}`, consistencyAnswerSchema, signal)).proof;
  }

  /** @param receipt SHA-256 of its body @throws WaypostError whose refusal code is LEDGER_NOT_FOUND */
  inclusion(receipt: string, size: number, signal: AbortSignal): Promise<z.infer<typeof inclusionAnswerSchema>> {
    return this.get(`proof/inclusion?receipt=${receipt}&size=${size}`, inclusionAnswerSchema, signal);
  }

  async reportFork(report: ForkReport, signal: AbortSignal): Promise<void> {
    await this.central.postMessage(`${LEDGER_PATH}/forks`, report, signal);
  }

  private async get<T>(path: string, schema: z.ZodType<T>, signal: AbortSignal): Promise<T> {
    const { text } = await this.central.getText(`${LEDGER_PATH}/${path}`, signal);
    const parsed = schema.safeParse(parseJson(text));
    if (parsed.success) return parsed.data;
    throw new WaypostError('LEDGER_INVALID', { detail: `Central answered ${LEDGER_PATH}/${path} with something else than expected.` });
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}
