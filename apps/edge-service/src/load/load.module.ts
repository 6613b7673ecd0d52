import { type DynamicModule, Global, Module } from '@nestjs/common';
import { LOAD_OPTIONS, type LoadOptions } from './load-options.js';
import { LoadTransaction } from './load-transaction.js';
import { MirrorInspector } from './mirror-inspector.js';

/** Load and verify: one transaction. */
@Global()
@Module({ providers: [LoadTransaction, MirrorInspector], exports: [LoadTransaction, MirrorInspector] })
export class LoadModule {
  static forRoot(options: LoadOptions): DynamicModule {
    return { module: LoadModule, providers: [{ provide: LOAD_OPTIONS, useValue: options }] };
  }
}
