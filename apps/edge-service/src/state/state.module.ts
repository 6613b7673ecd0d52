import { Module } from '@nestjs/common';
import { HeldManifest } from './held-manifest.js';
import { MirrorState } from './mirror-state.js';

@Module({ providers: [MirrorState, HeldManifest], exports: [MirrorState, HeldManifest] })
export class StateModule {}
