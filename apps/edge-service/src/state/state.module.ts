import { Module } from '@nestjs/common';
import { MirrorState } from './mirror-state.js';

@Module({ providers: [MirrorState], exports: [MirrorState] })
export class StateModule {}
