import { Module } from '@nestjs/common';
import { CycleSteps } from './cycle-steps.js';

@Module({ providers: [CycleSteps], exports: [CycleSteps] })
export class PhaseModule {}
