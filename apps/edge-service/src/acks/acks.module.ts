import { Module } from '@nestjs/common';
import { PhaseModule } from '../phase/phase.module.js';
import { AckOutbox } from './ack-outbox.js';
import { SendAcks, SendNewAck, SendPendingAcks } from './send-acks.js';

@Module({
  imports: [PhaseModule],
  providers: [AckOutbox, SendAcks, SendPendingAcks, SendNewAck],
  exports: [AckOutbox, SendAcks, SendPendingAcks, SendNewAck],
})
export class AcksModule {}
