import { Body, Controller, HttpCode, Post } from '@nestjs/common';
import { type Ack, type AckResponse, ackSchema } from '@waypost/contracts';
import { ZodPipe } from '@waypost/runtime/service';
import { AckService } from '../acks/ack-service.js';
import type { RequestFacts } from '../audit/request-audit.js';
import { Device, type DeviceIdentity, Facts } from './device.guard.js';
import { DeviceOperation } from './operation.js';

/** What a device holds, or why it does not. */
@Controller('api/device-sync/ack')
export class AckController {
  constructor(private readonly acks: AckService) {}

  @Post()
  @DeviceOperation('ack')
  @HttpCode(200)
  async ack(
    @Body(new ZodPipe(ackSchema)) ack: Ack,
    @Device() { mac, deviceId }: DeviceIdentity,
    @Facts() facts: RequestFacts,
  ): Promise<AckResponse> {
    facts.manifestId = ack.manifestId;
    return this.acks.store({ ...ack, mac }, deviceId);
  }
}
