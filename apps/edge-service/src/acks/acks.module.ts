import { type DynamicModule, Global, Module } from '@nestjs/common';
import { PhaseModule } from '../phase/phase.module.js';
import { AckChannel } from './ack-channel.js';
import { ACK_OPTIONS, type AckOptions } from './ack-options.js';
import { AckOutbox } from './ack-outbox.js';
import { Receipts } from './receipts.js';
import { SendAcks, SendNewAck, SendPendingAcks } from './send-acks.js';

@Global()
@Module({
  imports: [PhaseModule],
  providers: [AckChannel, AckOutbox, Receipts, SendAcks, SendPendingAcks, SendNewAck],
  exports: [AckOutbox, SendAcks, SendPendingAcks, SendNewAck],
})
export class AcksModule {
  static forRoot(options: AckOptions): DynamicModule {
    return { module: AcksModule, providers: [{ provide: ACK_OPTIONS, useValue: options }] };
  }
}
