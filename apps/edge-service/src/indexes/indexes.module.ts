import { type DynamicModule, Global, Module } from '@nestjs/common';
import { PhaseModule } from '../phase/phase.module.js';
import { INDEX_OPTIONS, type IndexOptions } from './index-options.js';
import { KeepIndexes } from './keep-indexes.js';
import { OwnIndexes } from './own-indexes.js';

@Global()
@Module({ imports: [PhaseModule], providers: [OwnIndexes, KeepIndexes], exports: [KeepIndexes] })
export class IndexesModule {
  static forRoot(options: IndexOptions): DynamicModule {
    return { module: IndexesModule, providers: [{ provide: INDEX_OPTIONS, useValue: options }] };
  }
}
