import { type DynamicModule, Global, Module } from '@nestjs/common';
import { SendNewAck, SendPendingAcks } from '../acks/send-acks.js';
import { KeepIndexes } from '../indexes/keep-indexes.js';
import { UpdateMirror } from '../mirror/update-mirror.js';
import { Witness } from '../witness/witness.js';
import { CYCLE_PHASES, type CyclePhase } from '../phase/cycle-phase.js';
import { CycleLock } from './cycle-lock.js';
import { CYCLE_RUNNER_OPTIONS, type CycleRunnerOptions } from './cycle-runner-options.js';
import { CycleRunner } from './cycle-runner.js';
import { SyncCycle } from './sync-cycle.js';

/** In the order in which a cycle runs them. */
const PHASES = [SendPendingAcks, UpdateMirror, SendNewAck, KeepIndexes, Witness];

@Global()
@Module({
  providers: [
    { provide: CYCLE_PHASES, useFactory: (...phases: CyclePhase[]) => phases, inject: PHASES },
    CycleLock,
    SyncCycle,
    CycleRunner,
  ],
  exports: [CycleRunner],
})
export class CycleModule {
  static forRoot(options: CycleRunnerOptions): DynamicModule {
    return { module: CycleModule, providers: [{ provide: CYCLE_RUNNER_OPTIONS, useValue: options }] };
  }
}
