import { Module } from '@nestjs/common';
import { HeldManifest } from './held-manifest.js';
import { MirrorState } from './mirror-state.js';
import { OwnedTables } from './owned-tables.js';

@Module({ providers: [MirrorState, HeldManifest, OwnedTables], exports: [MirrorState, HeldManifest, OwnedTables] })
export class StateModule {}
