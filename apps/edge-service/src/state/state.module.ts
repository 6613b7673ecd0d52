import { type DynamicModule, Global, Module } from '@nestjs/common';
import { HeldManifest } from './held-manifest.js';
import { MirrorState } from './mirror-state.js';
import { OwnedTables } from './owned-tables.js';
import { STATE_OPTIONS, type StateOptions } from './state-options.js';

@Global()
@Module({ providers: [MirrorState, HeldManifest, OwnedTables], exports: [MirrorState, HeldManifest, OwnedTables] })
export class StateModule {
  static forRoot(options: StateOptions): DynamicModule {
    return { module: StateModule, providers: [{ provide: STATE_OPTIONS, useValue: options }] };
  }
}
