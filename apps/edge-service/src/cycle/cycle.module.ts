import { Module } from '@nestjs/common';
import { AcksModule } from '../acks/acks.module.js';
import { SendNewAck, SendPendingAcks } from '../acks/send-acks.js';
import { AuditModule } from '../audit/audit.module.js';
import { MirrorModule } from '../mirror/mirror.module.js';
import { UpdateMirror } from '../mirror/update-mirror.js';
import { CYCLE_PHASES, type CyclePhase } from '../phase/cycle-phase.js';
import { StatusModule } from '../status/status.module.js';
import { CycleLock } from './cycle-lock.js';
import { CycleRunner } from './cycle-runner.js';
import { SyncCycle } from './sync-cycle.js';

/** In the order in which a cycle runs them. */
const PHASES = [SendPendingAcks, UpdateMirror, SendNewAck];

@Module({
  imports: [AuditModule, AcksModule, StatusModule, MirrorModule],
  providers: [
    { provide: CYCLE_PHASES, useFactory: (...phases: CyclePhase[]) => phases, inject: PHASES },
    CycleLock,
    SyncCycle,
    CycleRunner,
  ],
  exports: [CycleRunner],
})
export class CycleModule {}
